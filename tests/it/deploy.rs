//! What is in `deploy/`, checked as software: the manifests against the program and against each other, the probes against
//! real servers, the configurations against the programs that read them.

#[path = "deploy/probes.rs"]
mod probes;

use serde_json::Value;

/// The documents of a YAML file of the repository.
fn yaml(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}
