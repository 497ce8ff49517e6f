//! Tells the program of which revision it is and how it was built; see `src/build_info.rs`.
//!
//! No time of the build: the same sources give the same program. Nothing here can fail the build.

use std::env;
use std::path::Path;
use std::process::Command;

/// Says the revision where there is no repository: in an archive of the sources, in an image.
const REVISION_VARIABLE: &str = "BUILD_REVISION";

/// What the program is made of. A change here makes it another one than that of the commit.
const SOURCES: [&str; 5] = [".cargo", "Cargo.lock", "Cargo.toml", "build.rs", "src"];

fn main() {
    println!("cargo::rerun-if-env-changed={REVISION_VARIABLE}");
    let given = env::var(REVISION_VARIABLE).ok().filter(|revision| !revision.is_empty());
    let revision = given.or_else(of_checkout).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=BUILD_REVISION={revision}");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc = output(Command::new(rustc).arg("--version"));
    println!("cargo::rustc-env=BUILD_RUSTC={}", rustc.as_deref().unwrap_or("unknown"));
    for name in ["TARGET", "PROFILE"] {
        println!(
            "cargo::rustc-env=BUILD_{name}={}",
            env::var(name).as_deref().unwrap_or("unknown")
        );
    }
    for source in SOURCES.into_iter().filter(|source| Path::new(source).exists()) {
        println!("cargo::rerun-if-changed={source}");
    }
}

/// The commit, with `-dirty` behind it where the sources are not those of the commit.
fn of_checkout() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    // An archive may have been unpacked inside of another repository.
    let is_own =
        Path::new(&top).canonicalize().ok()? == env::current_dir().ok()?.canonicalize().ok()?;
    if !is_own {
        return None;
    }
    // These change with every commit and every checkout; what does not exist would always count as changed.
    let mut watched = vec!["HEAD".to_owned(), "logs/HEAD".to_owned()];
    watched.extend(git(&["symbolic-ref", "--quiet", "HEAD"]));
    for name in watched {
        let path = git(&["rev-parse", "--git-path", &name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    let is_clean = git(&[&["status", "--porcelain", "--"], &SOURCES[..]].concat())?.is_empty();
    Some(if is_clean { commit } else { commit + "-dirty" })
}

fn git(arguments: &[&str]) -> Option<String> {
    output(Command::new("git").arg("--no-optional-locks").args(arguments))
}

/// What a command says, if it ends well.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
