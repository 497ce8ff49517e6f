//! Every target with some of what it begins with, all that once went wrong, and some hundred changes of both: the same at
//! every run, so that what fails is due to the change that is tested. `make fuzz` looks for what is new.
//!
//! An input that does not go well is in `nats-fuzz-TARGET` in the folder for temporary files. When what is wrong is put right,
//! it is to be kept in `fuzz/regressions/TARGET`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};

use fastrand::Rng;
use nats_fuzz::mutation::mutate;
use nats_fuzz::{seeds, target};

/// The memory that a target takes is that of the process, so there is one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The inputs to begin with that each target gets: many of them are much alike.
const MOST_SEEDS: usize = 40;

/// Gives `target` its seeds, and then changes of them.
fn drive(name: &str, mut changes: usize) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let target = target(name);
    let mut random = Rng::with_seed(7);
    let mut known = seeds::seeds(name);
    let every = known.len().div_ceil(MOST_SEEDS);
    known = known.into_iter().step_by(every).chain(seeds::regressions(name)).collect();
    let run = |input: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target.run(input))) {
            let file = std::env::temp_dir().join(format!("nats-fuzz-{name}"));
            std::fs::write(&file, input).expect("the input can be written");
            resume_unwind(panic);
        }
    };
    for input in &known {
        run(input);
    }
    while changes > 0 {
        let mut input = known[random.usize(..known.len())].clone();
        for _ in 0..random.u8(1..6).min(u8::try_from(changes).unwrap_or(u8::MAX)) {
            mutate(&mut input, target.longest, &mut random);
            run(&input);
            changes -= 1;
        }
    }
}

macro_rules! bounded {
    ($( $name:ident $changes:literal, )+) => {
        $(
            #[test]
            fn $name() {
                drive(stringify!($name), $changes);
            }
        )+

        #[test]
        fn every_target_is_driven() {
            let names: Vec<_> = nats_fuzz::ALL.iter().map(|target| target.name).collect();
            assert_eq!(names, [$( stringify!($name), )+]);
        }
    };
}

bounded! {
    varz 400,
    routez 200,
    jsz 400,
    detail 150,
    health 400,
    scrape 100,
    config 500,
    probe 1000,
    web 500,
}
