//! What is in `deploy/`, checked as software: the manifests against the program and against each other, the probes against
//! real servers, the configurations against the programs that read them, the documents about it against all that.

#[path = "deploy/compose.rs"]
mod compose;
#[path = "deploy/documents.rs"]
mod documents;
#[path = "deploy/manifests.rs"]
mod manifests;
#[path = "deploy/probes.rs"]
mod probes;
#[path = "deploy/restart.rs"]
mod restart;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The documents of a YAML file of the repository.
fn yaml(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files below a directory of the repository, by their paths.
fn texts(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory}: {error}")) {
        let entry = entry.unwrap();
        let path = entry.path().into_os_string().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(texts(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// That the program takes these arguments and variables. What a container would have mounted, and where it lies in the
/// repository, is in `mounts`.
fn accepts(arguments: &[&str], mounts: &[(&str, &str)], variables: &[(&str, &str)]) {
    let arguments = arguments.iter().map(|argument| {
        mounts.iter().fold((*argument).to_owned(), |text, (there, here)| text.replace(there, here))
    });
    let output = Command::new(env!("CARGO_BIN_EXE_nats-exporter"))
        .arg("--config.check")
        .args(arguments.clone())
        .envs(variables.iter().copied())
        .output()
        .expect("the program starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {told}", arguments.collect::<Vec<_>>());
}

#[test]
fn every_yaml_file_can_be_read() {
    let files = [texts("deploy"), texts(".github")].concat();
    let files: Vec<_> = files
        .iter()
        .filter(|path| Path::new(path).extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .filter(|path| !yaml(path).is_empty())
        .collect();
    assert!(files.len() > 15, "they were found: {files:?}");
}
