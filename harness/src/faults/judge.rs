//! What two scrapes show, compared with what they should.

use std::collections::BTreeSet;

use super::plan::BASE;
use super::scraper::{Scrape, Series, series};
use super::{Cell, Limits};
use crate::samples::Samples;

/// A scrape of the base tier, one of everything, and what is not as it should be.
pub(super) struct Judge<'s> {
    base: &'s Scrape,
    all: &'s Scrape,
    is_complete: bool,
    pub(super) problems: Vec<String>,
}

impl<'s> Judge<'s> {
    /// Looks whether both came in time.
    pub(super) fn new(base: &'s Scrape, all: &'s Scrape, limits: Limits) -> Self {
        let mut problems = Vec::new();
        for (what, scrape) in [("the base tier", base), ("everything", all)] {
            if scrape.elapsed > limits.announced {
                problems.push(format!("{what} took {:.1} s", scrape.elapsed.as_secs_f64()));
            }
        }
        Self { base, all, is_complete: true, problems }
    }

    fn samples(&self) -> &'s Samples {
        &self.all.samples
    }

    /// The base tier is this in both scrapes, and nothing else.
    pub(super) fn base_is(&mut self, expected: &BTreeSet<Series>) {
        self.base_has(expected);
        for (name, labels) in series(&self.base.samples).difference(expected) {
            // These tell of the broken answer itself: a probe that gets it fails, and its status may be known.
            if !name.ends_with("_probe_would_fail") && name != "nats_health_check_status_code" {
                self.problems.push(format!("{name} {labels:?} is shown"));
            }
        }
    }

    /// The base tier has this in both scrapes.
    pub(super) fn base_has(&mut self, expected: &BTreeSet<Series>) {
        for scrape in [self.base, self.all] {
            for (name, labels) in expected.difference(&series(&scrape.samples)) {
                self.is_complete = false;
                self.problems.push(format!("{name} {labels:?} is missing"));
            }
        }
    }

    /// An endpoint of a server fails for this reason, or gives something.
    pub(super) fn endpoint(&mut self, server: &str, endpoint: &str, reason: Option<&str>) {
        let labels = [("server", server), ("endpoint", endpoint)];
        let up = self.samples().value("nats_exporter_endpoint_up", &labels);
        if up != Some(f64::from(u8::from(reason.is_none()))) {
            self.problems.push(format!("{endpoint} has up {up:?}"));
        }
        let found = self.failures(&labels);
        if found != reason.into_iter().map(str::to_owned).collect() {
            self.problems.push(format!("{endpoint} gives {found:?} and should give {reason:?}"));
        }
    }

    /// The base tier of every server but this one is ok, and its endpoints give something.
    pub(super) fn others_are_well(&mut self, except: Option<&str>) {
        let samples = self.samples();
        for up in samples.find("nats_up", &[]) {
            let server = up.labels["server"].as_str();
            if Some(server) == except {
                continue;
            }
            let state = samples.state(server, "base");
            if state.as_deref() != Some("ok") {
                self.problems.push(format!("the base tier of {server} is {state:?}"));
            }
            for endpoint in BASE {
                self.endpoint(server, endpoint, None);
            }
        }
    }

    fn failures(&self, labels: &[(&str, &str)]) -> BTreeSet<String> {
        let failures = self.samples().find("nats_exporter_endpoint_failure_info", labels);
        failures.map(|sample| sample.labels["reason"].clone()).collect()
    }

    /// What came of the fault on `server`.
    pub(super) fn cell(self, what: &'static str, server: &str) -> Cell {
        let tiers = ["base", "persistence"];
        Cell {
            what,
            reasons: self.failures(&[("server", server)]),
            tiers: tiers.iter().flat_map(|tier| self.samples().reasons(server, tier)).collect(),
            is_complete: self.is_complete,
            base_after: self.base.elapsed,
            all_after: self.all.elapsed,
            problems: self.problems,
        }
    }
}
