//! libFuzzer for the target of this name, see `nats_fuzz`.

#![no_main]

nats_fuzz::drive!("varz");
