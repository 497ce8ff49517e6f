//! Which program this is: version, revision and build, as `--version` and the metrics tell them.
//!
//! `build.rs` finds it out.

/// The commit that the program was built from, with `-dirty` behind it where the sources differed
/// from it; `unknown` where nobody said it.
pub const REVISION: &str = env!("BUILD_REVISION");

/// What `--version` says. `-V` says only the version, for scripts.
pub const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\n  revision: ",
    env!("BUILD_REVISION"),
    "\n  platform: ",
    env!("BUILD_TARGET"),
    "\n  compiler: ",
    env!("BUILD_RUSTC"),
    "\n  profile:  ",
    env!("BUILD_PROFILE"),
);
