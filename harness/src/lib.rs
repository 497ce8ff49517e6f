//! Starts real NATS servers for the tests and the demo.
