//! What the programs have in common that hold many runs on real clusters: which are chosen, how many at a time, and
//! where what came of them is written.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use futures_util::StreamExt as _;

use crate::{Error, Result, repository};

/// The path of the exporter's binary, which has to be there.
pub fn exporter(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|error| Error::Fetch {
        program: format!("the exporter's binary {}", path.display()),
        reason: format!("{error}; build it with `cargo build --release --bin nats-exporter`"),
    })
}

/// The arguments that all of them take.
#[derive(clap::Args, Debug)]
pub struct Usual {
    /// The exporter's binary.
    #[arg(long, value_name = "PATH", default_value = "target/release/nats-exporter")]
    exporter: PathBuf,

    /// Where what came of it is written to; nowhere by default.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl Usual {
    /// The path of the exporter's binary, which has to be there.
    pub fn exporter(&self) -> Result<PathBuf> {
        exporter(&self.exporter)
    }

    /// Writes a document of the repository, if there is to be one.
    pub fn write(&self, text: impl FnOnce() -> String) -> Result<()> {
        let Some(path) = &self.report else { return Ok(()) };
        std::fs::write(repository().join(path), text()).map_err(Error::file("cannot write", path))
    }
}

/// How a program ends of which `result` says whether all was well. `broken` begins the message when it could not go on.
#[must_use]
#[expect(clippy::print_stdout, reason = "the programs talk to people")]
pub fn end(result: Result<bool>, broken: &str) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{broken}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Those of `all` that are called as `names` say, or all. `kind` is what one of them is, for the message.
pub fn chosen<T: Copy>(
    all: &[T],
    names: &[String],
    kind: &str,
    name_of: impl Fn(T) -> &'static str,
) -> Result<Vec<T>> {
    if names.is_empty() {
        return Ok(all.to_vec());
    }
    let find = |name: &String| {
        all.iter().copied().find(|one| name_of(*one) == name).ok_or_else(|| Error::Fetch {
            program: format!("a {kind} called {name}"),
            reason: format!(
                "there are {}",
                all.iter().map(|one| name_of(*one)).collect::<Vec<_>>().join(", ")
            ),
        })
    };
    names.iter().map(find).collect()
}

/// Holds runs, `parallel` at a time, tells of each as it ends, and returns what came of them in the order of the runs.
///
/// In one task: nearly all of their time is waiting.
pub async fn hold<R, O>(
    runs: impl IntoIterator<Item = R>,
    parallel: usize,
    hold_one: impl AsyncFn(&R) -> O,
    mut tell: impl FnMut(&R, &O),
) -> Vec<(R, O)> {
    let all = futures_util::stream::iter(runs.into_iter().enumerate()).map(async |(at, run)| {
        let outcome = hold_one(&run).await;
        (at, run, outcome)
    });
    let mut under_way = std::pin::pin!(all.buffer_unordered(parallel.max(1)));
    let mut ended = Vec::new();
    while let Some((at, run, outcome)) = under_way.next().await {
        tell(&run, &outcome);
        ended.push((at, run, outcome));
    }
    ended.sort_by_key(|(at, ..)| *at);
    ended.into_iter().map(|(_, run, outcome)| (run, outcome)).collect()
}
