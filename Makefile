# What people and CI run. `make help` lists the targets.

# A version of nats-server for `make demo`; empty is the newest tested one.
SERVER_VERSION ?=
# More arguments for the demo, such as `--for 60`.
DEMO_ARGS ?=

# More arguments for the drills, such as `--server-version 2.10.19`, or names of drills.
DRILL_ARGS ?= --report docs/drills.md

# More arguments for the stops behind verdicts, such as `--server-version 2.11.11`, or names of states.
VERDICT_ARGS ?= --report docs/verdict.md

# More arguments for the matrix of faults, such as `--server-version 2.10.26`, or `--scrapes 0` without the leak check.
FAULT_ARGS ?= --report docs/faults.md

# More arguments for the long runs, such as `--for 60`.
LOAD_ARGS ?= --report docs/load.md
SOAK_ARGS ?= --report docs/soak.md

# More arguments for the fuzzing, such as `--seconds 60`, or names of targets.
FUZZ_ARGS ?=

# More arguments for the comparison, such as `--quick`, or `--without-official` where there is no Go.
BENCH_ARGS ?=

# One more than there are cores: the longest tests mostly wait for servers.
TEST_THREADS ?= $(shell expr $$(nproc) + 1)

# For what `make package` builds, such as x86_64-unknown-linux-musl; empty is this machine. See tools/build-release.
TARGET ?=

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help setup fetch demo test fuzz drills verdicts faults load soak bench parts golden docs alerts dashboards pictures package prove-package prove-image prove-offline fmt lint deny advisories doc clean

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: ## Looks for compiler, Python and the like, and installs what is missing
	tools/setup

fetch: ## Fetches the NATS servers and Prometheus tools that the tests run
	@tools/fetch all >/dev/null

demo: setup ## Starts three NATS servers and the exporter to look at, until Ctrl-C
	@tools/fetch nats-server $(SERVER_VERSION) >/dev/null
	cargo build --release --bin nats-exporter
	cargo build -p nats-harness --bin demo
	@$(TARGET_DIR)/debug/demo --exporter $(TARGET_DIR)/release/nats-exporter \
		$(if $(SERVER_VERSION),--server-version $(SERVER_VERSION)) $(DEMO_ARGS)

test: setup fetch lint deny doc ## Runs everything: format, lints, dependencies, docs, tests
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test --workspace

fuzz: setup ## Looks for inputs that break something, for an hour, and writes docs/fuzzing.md: needs a C++ compiler
	tools/fuzz $(FUZZ_ARGS)

drills: setup ## Breaks real clusters in many ways, sees who is called, and writes docs/drills.md
	@tools/fetch all >/dev/null
	cargo build --release --bin nats-exporter
	cargo build -p nats-harness --bin drills
	@$(TARGET_DIR)/debug/drills --exporter $(TARGET_DIR)/release/nats-exporter $(DRILL_ARGS)

verdicts: setup ## Stops servers of real clusters after the restart verdict on them, and writes docs/verdict.md
	@tools/fetch all >/dev/null
	cargo build --release --bin nats-exporter
	cargo build -p nats-harness --bin verdicts
	@$(TARGET_DIR)/debug/verdicts --exporter $(TARGET_DIR)/release/nats-exporter $(VERDICT_ARGS)

faults: setup ## Breaks everything that the exporter asks in every way, and writes docs/faults.md
	@tools/fetch nats-server >/dev/null
	cargo build --release --bin nats-exporter
	cargo build -p nats-harness --bin faults
	@$(TARGET_DIR)/debug/faults --exporter $(TARGET_DIR)/release/nats-exporter $(FAULT_ARGS)

load: setup ## Scrapes a server with 50,000 consumers from 100 sides for ten minutes, and writes docs/load.md
	@tools/fetch nats-server >/dev/null
	cargo build --release -p nats-exporter -p nats-harness --bin nats-exporter --bin load
	@$(TARGET_DIR)/release/load --exporter $(TARGET_DIR)/release/nats-exporter $(LOAD_ARGS)

soak: setup ## Restarts servers for an hour under a real Prometheus, and writes docs/soak.md
	@tools/fetch all >/dev/null
	cargo build --release --bin nats-exporter
	cargo build -p nats-harness --bin soak
	@$(TARGET_DIR)/debug/soak --exporter $(TARGET_DIR)/release/nats-exporter $(SOAK_ARGS)

bench: setup ## Compares with the official exporter beside a real server, which needs Go, and writes docs/performance.md
	bench/compare $(BENCH_ARGS)

parts: ## Measures the parts of a large scrape
	cargo bench --bench detail

golden: ## Writes the golden expositions and expected messages anew, to be reviewed as text
	UPDATE=1 cargo test --test it -- golden:: config::

docs: ## Writes docs/metrics.md, and the tables of docs/configuration.md and of the dependencies anew
	UPDATE=1 cargo test --test it -- catalog:: config:: dependencies::

pictures: setup ## Draws the status page in every state: needs Chromium and six minutes, PICTURES=DIR keeps them
	@tools/fetch nats-server >/dev/null
	cargo test --test it -- --ignored status::pictures

dashboards: ## Writes the dashboards anew from their code
	dashboards/generate

alerts: ## Writes the rules for Kubernetes anew
	UPDATE=1 cargo test --test it -- alerts::

package: ## Builds the Debian package, the archive and the SBOM in dist/
	tools/package $(TARGET)

prove-package: package ## Installs, starts, upgrades and purges the package in a Debian of its own: needs root
	tools/prove-package

prove-image: ## Runs what the image holds, read-only and as its user, beside a real server: needs root
	tools/prove-image

prove-offline: ## Builds everything without a network, and looks for whoever wants one
	tools/prove-offline

fmt: ## Formats the code
	cargo fmt --all

lint: ## Checks format and lints, and that the dashboards are what their code makes of them
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	dashboards/generate --check

deny: ## Checks licences, bans and sources of the dependencies
	@$$(tools/fetch cargo-deny) check -D warnings licenses bans sources

advisories: ## Checks the dependencies against the advisory database, which has to be downloaded
	@$$(tools/fetch cargo-deny) check advisories

doc: ## Builds the documentation of the code
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

clean: ## Removes what was built and fetched
	cargo clean
	rm -rf .tools dist
