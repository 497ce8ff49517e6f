//! What `tools/fuzz` needs beside libFuzzer: the names of the targets, the inputs to begin with, and the page about what
//! was run.

#![allow(clippy::print_stdout, reason = "what is printed is what the program is for")]

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use nats_fuzz::{ALL, MEMORY_AT_LEAST, MEMORY_PER_BYTE, Target, seeds};

/// Prepares a run of libFuzzer, and tells what came of it.
#[derive(Parser)]
enum Command {
    /// Prints the name of each target and the longest input that is worth while.
    Targets,
    /// Writes the inputs to begin with into a folder for each target.
    Seeds {
        /// Where those folders are made.
        folder: PathBuf,
    },
    /// Writes the page about a run from its logs.
    Report {
        /// Where `TARGET.log` and the folders `TARGET` with what was found are.
        logs: PathBuf,
        /// What was run: the commit.
        #[arg(long)]
        commit: String,
        /// The date of the run.
        #[arg(long)]
        date: String,
        /// The page.
        #[arg(long, default_value = "docs/fuzzing.md")]
        page: PathBuf,
    },
}

fn main() -> Result<(), Box<dyn Error>> {
    match Command::parse() {
        Command::Targets => {
            for Target { name, longest, .. } in ALL {
                println!("{name} {longest}");
            }
        }
        Command::Seeds { folder } => {
            for Target { name, .. } in ALL {
                let folder = folder.join(name);
                fs::create_dir_all(&folder)?;
                let known = seeds::seeds(name).into_iter().chain(seeds::regressions(name));
                for (number, seed) in known.enumerate() {
                    fs::write(folder.join(format!("seed-{number:04}")), seed)?;
                }
            }
        }
        Command::Report { logs, commit, date, page } => {
            let runs = ALL.iter().map(|target| Ok((target, Run::read(&logs, target.name)?)));
            let runs = runs.collect::<Result<Vec<_>, std::io::Error>>()?;
            fs::write(page, report(&runs, &commit, &date))?;
        }
    }
    Ok(())
}

/// What libFuzzer said of one target.
#[derive(Debug, Default, PartialEq, Eq)]
struct Run {
    executions: Option<u64>,
    seconds: Option<u64>,
    /// Edges of the program that were reached.
    edges: Option<u64>,
    inputs: Option<u64>,
    peak_mebibytes: Option<u64>,
    /// Inputs that did not go well in this run.
    found: usize,
    /// Those of earlier runs, which are kept and go well now.
    kept: usize,
}

impl Run {
    /// A target that was not run has nothing.
    fn read(logs: &Path, name: &str) -> std::io::Result<Self> {
        let log = match fs::read(logs.join(format!("{name}.log"))) {
            Ok(log) => String::from_utf8_lossy(&log).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        // Slow inputs are kept beside those that crash, hang or take too much memory, and depend on the machine.
        let is_wrong =
            |file: &fs::DirEntry| !file.file_name().to_string_lossy().starts_with("slow-");
        let files = fs::read_dir(logs.join(name)).into_iter().flatten().flatten();
        let found = files.filter(is_wrong).count();
        Ok(Self { found, kept: seeds::regressions(name).len(), ..Self::parse(&log) })
    }

    fn parse(log: &str) -> Self {
        let mut run = Self::default();
        for line in log.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let behind = |word: &str| {
                let at = words.iter().position(|other| *other == word)?;
                let number = words.get(at + 1)?.split('/').next()?;
                number.trim_end_matches("Mb").parse().ok()
            };
            if line.starts_with('#') {
                run.edges = behind("cov:").or(run.edges);
                run.inputs = behind("corp:").or(run.inputs);
                run.peak_mebibytes = behind("rss:").max(run.peak_mebibytes);
                let executions = words[0].trim_start_matches('#').parse().ok();
                run.executions = executions.max(run.executions);
            } else if line.starts_with("Done ") {
                run.executions = behind("Done");
                run.seconds = behind("in");
            } else if line.starts_with("stat::peak_rss_mb:") {
                run.peak_mebibytes = behind("stat::peak_rss_mb:").max(run.peak_mebibytes);
            }
        }
        run
    }

    /// What became of the run, when it did not come to its end with nothing found.
    fn trouble(&self) -> Option<&'static str> {
        match (self.executions, self.found, self.seconds) {
            (None, ..) => Some("was not run"),
            (_, 1.., _) => Some("found something that is not put right"),
            (.., None) => Some("was ended early"),
            _ => None,
        }
    }
}

fn report(runs: &[(&Target, Run)], commit: &str, date: &str) -> String {
    let number = |number: Option<u64>| number.map_or_else(|| "–".to_owned(), |n| n.to_string());
    let mut page = format!(
        "# Fuzzing\n\n\
         Written by `tools/fuzz`; do not edit. Each target takes bytes and panics when something does not hold. libFuzzer \
         changes what real servers said (`tests/fixtures`) and what people write (`tests/config`) for as long as it reaches \
         new code or time is up. `make test` gives the same targets some thousand changes, the same ones at every run.\n\n\
         ## What holds\n\n\
         No input makes the exporter panic or hang, and none takes more memory than {} MiB and {MEMORY_PER_BYTE} times its \
         own length. Beside that:\n\n\
         | target | takes | what holds |\n| --- | --- | --- |\n",
        MEMORY_AT_LEAST >> 20
    );
    let mut line = |line: String| {
        page += &line;
        page.push('\n');
    };
    for (Target { name, takes, holds, .. }, _) in runs {
        line(format!("| `{name}` | {takes} | {holds} |"));
    }
    line(format!("\n## The last run\n\nOn {date}, of commit {commit}.\n"));
    for (target, run) in runs {
        if let Some(trouble) = run.trouble() {
            line(format!("**`{}` {trouble}.**\n", target.name));
        }
    }
    line("| target | seconds | executions | edges reached | inputs kept | found, not put right | found before, put right | peak memory, MiB |".to_owned());
    line("| --- | --- | --- | --- | --- | --- | --- | --- |".to_owned());
    for (target, run) in runs {
        let mut row = format!("| `{}` ", target.name);
        for cell in [run.seconds, run.executions, run.edges, run.inputs] {
            let _ = write!(row, "| {} ", number(cell));
        }
        let peak = number(run.peak_mebibytes);
        line(format!("{row}| {} | {} | {peak} |", run.found, run.kept));
    }
    line(
        "\nPeak memory is that of the whole process, with libFuzzer and all inputs that it keeps."
            .to_owned(),
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_of_libfuzzer_are_read() {
        let log = "INFO: seed corpus: files: 60\n\
            #61\tINITED cov: 2114 ft: 6120 corp: 44/80Kb exec/s: 30 rss: 70Mb\n\
            #4096\tpulse  cov: 2301 ft: 7002 corp: 90/120Kb lim: 16384 exec/s: 273 rss: 82Mb\n";
        let unfinished = Run::parse(log);
        assert_eq!((unfinished.executions, unfinished.seconds), (Some(4096), None));
        assert_eq!(unfinished.trouble(), Some("was ended early"));
        let log =
            format!("{log}Done 5000 runs in 3601 second(s)\nstat::peak_rss_mb:              90\n");
        let run = Run::parse(&log);
        let expected = Run {
            executions: Some(5000),
            seconds: Some(3601),
            edges: Some(2301),
            inputs: Some(90),
            peak_mebibytes: Some(90),
            ..Run::default()
        };
        assert_eq!(run, expected);
        assert_eq!(run.trouble(), None);
        assert_eq!(
            Run { found: 1, ..run }.trouble(),
            Some("found something that is not put right")
        );
        assert_eq!(Run::parse("").trouble(), Some("was not run"));
    }
}
