//! What others think of the text: promtool, and the other format.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::stage::{Format, Stage};

/// The scenes with the most different metrics: every version's cluster, no JetStream, the dead.
const LINTED: [&str; 9] = [
    "2.9.10/jetstream-cluster3",
    "2.10.26/jetstream-cluster3",
    "2.10.26/one-node-killed",
    "2.11.11/jetstream-cluster3",
    "2.12.8/jetstream-cluster3",
    "2.14.6/supercluster-leaf",
    "2.15.1/core-single",
    "2.15.1/jetstream-cluster3",
    "2.15.1/max-file-exceeded",
];

/// promtool of Prometheus 2.42 reads classic text. In OpenMetrics it looks for the help of a counter
/// under the name of its samples, where the format does not have it; that is all it may say.
#[tokio::test]
async fn promtool_has_nothing_to_say() {
    let fetched = Command::new("tools/fetch").arg("promtool").output().expect("tools/fetch runs");
    let told = String::from_utf8_lossy(&fetched.stderr);
    assert!(fetched.status.success(), "{told}");
    let promtool = String::from_utf8(fetched.stdout).expect("a path").trim().to_owned();
    for (name, format) in LINTED
        .into_iter()
        .flat_map(|name| [Format::Classic, Format::OpenMetrics].map(|format| (name, format)))
    {
        for scene in Stage::named(name).play(format).await {
            let mut child = Command::new(&promtool)
                .args(["check", "metrics"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("promtool starts");
            let mut input = child.stdin.take().expect("it is piped");
            // promtool reads everything before it writes anything.
            input.write_all(scene.text.as_bytes()).expect("promtool reads");
            drop(input);
            let output = child.wait_with_output().expect("promtool ends");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let of_format =
                |line: &str| format == Format::OpenMetrics && line.ends_with("_total no help text");
            let said: Vec<_> = said.lines().filter(|line| !of_format(line)).collect();
            let ended_well = output.status.success() || format == Format::OpenMetrics;
            assert!(ended_well && said.is_empty(), "{}: {said:#?}", scene.name);
        }
    }
}
