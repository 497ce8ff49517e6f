//! What no server sends and nobody writes, given to the exporter as bytes.
//!
//! A [`Target`] takes bytes and panics when something is not as it should be. The same targets are driven twice: by
//! `tests/bounded.rs`, which is a part of `make test` and gives the same inputs at every run, and by libFuzzer
//! (`make fuzz`), which follows the coverage for an hour or longer. [`seeds`] makes the inputs to begin with from the
//! recordings of real servers, and `regressions/` has what once went wrong.

pub mod exposition;
pub mod mutation;
pub mod seeds;
pub mod stage;
mod targets;

use peak_alloc::PeakAlloc;

pub use targets::{ALL, Target};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Memory that any input may take, in bytes: the compressors of an exposition are most of it.
pub const MEMORY_AT_LEAST: usize = 24 << 20;

/// Memory that each byte of an input may take on top of that, in bytes. The shortest stream or consumer is a few bytes of
/// JSON and some dozens of series.
pub const MEMORY_PER_BYTE: usize = 2048;

/// Separates the parts of an input that stands for several texts.
pub const SEPARATOR: u8 = 0x1e;

/// The target called `name`.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn target(name: &str) -> &'static Target {
    ALL.iter().find(|target| target.name == name).expect("the name of a target")
}

impl Target {
    /// Gives `input` to the exporter. The memory that it may take is that of the process, so nothing else should run in it.
    ///
    /// # Panics
    /// When something is not as it should be.
    pub fn run(&self, input: &[u8]) {
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        (self.check)(input);
        let taken = MEMORY.peak_usage().saturating_sub(before);
        let most = MEMORY_AT_LEAST + MEMORY_PER_BYTE * input.len();
        assert!(taken <= most, "{} bytes of input took {taken} bytes of memory", input.len());
    }
}

/// The parts of an input, as many as are wanted; what is missing is empty, and the last one takes the rest.
fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut parts = input.splitn(N, |byte| *byte == SEPARATOR);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// Has libFuzzer drive the target called `$name`.
#[cfg(feature = "libfuzzer")]
#[macro_export]
macro_rules! drive {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            $crate::target($name).run(input);
        });
        libfuzzer_sys::fuzz_mutator!(|input: &mut [u8], size: usize, most: usize, seed: u32| {
            $crate::mutation::mutate_in_place(input, size, most, seed, libfuzzer_sys::fuzzer_mutate)
        });
    };
}
