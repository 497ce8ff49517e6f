//! What the exporter shows of recorded servers: everything, byte for byte, and what of it must be
//! true whatever else changes.
//!
//! `UPDATE=1 cargo test` rewrites `tests/golden`. Read the difference before it is committed.

#[path = "golden/late.rs"]
mod late;
#[path = "golden/lint.rs"]
mod lint;
#[path = "golden/oracle.rs"]
mod oracle;
#[path = "golden/stage.rs"]
mod stage;
#[path = "golden/truth.rs"]
mod truth;
#[path = "golden/verdicts.rs"]
mod verdicts;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::is_update;
use crate::support::replay::{FIXTURES, folders};
use crate::support::samples::Samples;
use stage::{Format, Scene, Stage};

const GOLDEN: &str = "tests/golden";

/// Scenes whose classic text is kept beside the other one. That of all others follows from it.
const KEPT_IN_BOTH: [&str; 12] = [
    "2.9.10/jetstream-cluster3",
    "2.10.26/core-single",
    "2.10.26/jetstream-single",
    "2.10.26/jetstream-cluster3",
    "2.10.26/disk-full/during",
    "2.11.11/jetstream-cluster3",
    "2.12.8/jetstream-cluster3",
    "2.14.6/jetstream-cluster3",
    "2.15.1/core-single",
    "2.15.1/two-nodes-killed/during",
    "2.15.1/jetstream-single",
    "2.15.1/jetstream-cluster3",
];

/// Attempts at a text. Which of two requests tells something may depend on the time that they
/// take, and a machine that stands still for a quarter of a second is no defect of ours.
const ATTEMPTS: usize = 3;

fn file(scene: &str, extension: &str) -> PathBuf {
    let (version, rest) = scene.split_once('/').expect("a version and a scenario");
    Path::new(GOLDEN).join(version).join(format!("{}.{extension}", rest.replace('/', "-")))
}

/// Plays everything recorded of `version` and compares all of it.
async fn compare(version: &str) {
    let mut wrong = Vec::new();
    for folder in folders(&Path::new(FIXTURES).join(version)) {
        let stage = Stage::new(&folder);
        let mut attempt = 1;
        wrong.extend(loop {
            let scenes = stage.play(Format::OpenMetrics).await;
            let classic = stage.play(Format::Classic).await;
            let differences = differences(&scenes, &classic);
            if differences.is_empty() || is_update() || attempt == ATTEMPTS {
                break differences;
            }
            attempt += 1;
        });
    }
    assert!(
        wrong.is_empty(),
        "{}\n\nUPDATE=1 cargo test writes what was found; read the difference then",
        wrong.join("\n")
    );
}

fn differences(scenes: &[Scene], classic: &[Scene]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (scene, classic) in scenes.iter().zip(classic) {
        for text in [&scene.text, &classic.text] {
            // Panics on what a strict reader would not take.
            let _ = Samples::parse(text);
        }
        let expected = file(&scene.name, "om");
        if is_update() {
            fs::create_dir_all(expected.parent().expect("a folder")).expect("it can be made");
            fs::write(&expected, &scene.normal).expect("it can be written");
        }
        wrong.extend(difference(&scene.normal, &read(&expected), &expected.display().to_string()));
        let follows = as_classic(&scene.normal);
        let name = format!("{} as classic text", scene.name);
        wrong.extend(difference(&classic.normal, &follows, &name));
        if KEPT_IN_BOTH.contains(&scene.name.as_str()) {
            let expected = file(&scene.name, "txt");
            if is_update() {
                fs::write(&expected, &classic.normal).expect("it can be written");
            }
            let name = expected.display().to_string();
            wrong.extend(difference(&classic.normal, &read(&expected), &name));
        }
    }
    wrong
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The first lines that differ.
fn difference(found: &str, expected: &str, name: &str) -> Option<String> {
    if found == expected {
        return None;
    }
    let (found, expected): (Vec<_>, Vec<_>) = (found.lines().collect(), expected.lines().collect());
    let at = found.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
    let around = |lines: &[&str]| {
        lines[at.min(lines.len())..].iter().take(3).copied().collect::<Vec<_>>().join("\n    ")
    };
    Some(format!(
        "{name}, line {}:\n  found\n    {}\n  expected\n    {}",
        at + 1,
        around(&found),
        around(&expected)
    ))
}

/// What the classic format says when the other one says `text`: a counter's family has the name
/// of its samples, and no line marks the end.
fn as_classic(text: &str) -> String {
    let counters: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut classic = String::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        let (mark, _keyword, name, _rest) =
            (words.next(), words.next(), words.next(), words.next());
        match name {
            Some(name) if mark == Some("#") && counters.contains(name) => {
                classic.push_str(&line.replacen(name, &format!("{name}_total"), 1));
            }
            _ => classic.push_str(line),
        }
        classic.push('\n');
    }
    classic
}

macro_rules! versions {
    ($( $name:ident $version:literal, )+) => {
        const VERSIONS: &[&str] = &[$( $version, )+];
        $(
            #[tokio::test]
            async fn $name() {
                compare($version).await;
            }
        )+
    };
}

versions! {
    recordings_of_2_9_10_look_as_they_always_did "2.9.10",
    recordings_of_2_10_26_look_as_they_always_did "2.10.26",
    recordings_of_2_11_11_look_as_they_always_did "2.11.11",
    recordings_of_2_12_8_look_as_they_always_did "2.12.8",
    recordings_of_2_14_6_look_as_they_always_did "2.14.6",
    recordings_of_2_15_1_look_as_they_always_did "2.15.1",
}

#[test]
fn every_version_that_was_recorded_is_played() {
    let recorded = folders(Path::new(FIXTURES));
    let recorded: BTreeSet<_> =
        recorded.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    assert_eq!(recorded, VERSIONS.iter().copied().collect());
}

#[test]
fn no_golden_file_is_left_over() {
    let mut expected = BTreeSet::new();
    for version in folders(Path::new(FIXTURES)) {
        for folder in folders(&version) {
            for scene in Stage::new(&folder).scenes() {
                expected.insert(file(&scene, "om"));
                if KEPT_IN_BOTH.contains(&scene.as_str()) {
                    expected.insert(file(&scene, "txt"));
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    for version in folders(Path::new(GOLDEN)) {
        let files = fs::read_dir(version).expect("the folder is there");
        found.extend(files.map(|file| file.expect("a file").path()));
    }
    assert_eq!(found.difference(&expected).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
}
