//! What runs while things are broken: an exporter for each run, with the target at fault before the others.

use std::collections::BTreeSet;
use std::time::Duration;

use super::judge::Judge;
use super::plan::{ASKED_AT_FIRST, BASE, Broken, CASES, Case, ENDPOINTS};
use super::scraper::{Scraper, Series};
use super::target::Target;
use super::{Cell, Place, Run, Scene};
use crate::monitor::Question;
use crate::samples::{Sample, Samples};
use crate::{Node, Result};

/// Within this time all is there again after a fault.
const BACK_LIMIT: Duration = Duration::from_secs(20);

/// What runs.
pub(super) struct Stage<'s> {
    scene: &'s Scene,
    target: Target,
    scraper: Scraper,
    /// The name of the server behind the target at fault.
    server: String,
    /// The base tier of all that is well before the fault.
    well: BTreeSet<Series>,
}

impl<'s> Stage<'s> {
    /// Starts the exporter, and waits until it shows the base tier of all that is well.
    pub(super) async fn set(scene: &'s Scene, run: Run) -> Result<Self> {
        let urls = scene.cluster.monitor_urls();
        let target = Target::set(&urls[0], run.place).await?;
        let others = urls[1..run.targets].iter().cloned();
        let targets = std::iter::once(target.url.clone()).chain(others);
        let name = format!("{:?}-{}", run.place, run.targets);
        let scraper = Scraper::start(scene, &name, scene.limits, targets).await?;
        let is_well = |node: &&Node| node.index() > 0 || matches!(run.place, Place::Question(_));
        let nodes = scene.cluster.nodes()[..run.targets].iter();
        let names: BTreeSet<String> = nodes.filter(is_well).map(Node::name).collect();
        let is_there = |(_, labels): &&Series| names.contains(&labels["server"]);
        let well = scene.well.iter().filter(is_there).cloned().collect();
        let server = scene.cluster.node(0).name();
        Ok(Self { scene, target, scraper, server, well })
    }

    /// Spoils the answers to one question in every way, one after the other.
    pub(super) async fn spoil(&self, question: Question) -> Result<Vec<Cell>> {
        let mut cells = Vec::new();
        let mut well = self.until_well().await?;
        for case in CASES.iter() {
            let (cell, well_again) = self.spoil_once(question, case, &well).await?;
            cells.push(cell);
            well = well_again;
        }
        Ok(cells)
    }

    /// Spoils the answers to one question, looks, and waits until all is well again.
    async fn spoil_once(
        &self,
        question: Question,
        case: &Case,
        before: &Samples,
    ) -> Result<(Cell, Samples)> {
        let reason = case.reason_of(question);
        self.target.gate.spoil(question, case.fault.clone());
        let (base, all) = self.scraper.scrape_both().await?;
        self.target.gate.heal();
        self.target.gate.idle().await;

        let mut judge = Judge::new(&base, &all, self.scene.limits);
        let is_lost = |(name, labels): &Series| {
            let check = labels.get("check").map(String::as_str);
            reason.is_some() && labels["server"] == self.server && question.makes(name, check)
        };
        let expected = self.well.iter().filter(|series| !is_lost(series)).cloned().collect();
        judge.base_is(&expected);
        for endpoint in ENDPOINTS {
            // A server gets one /jsz at a time, so the detail has no turn while the plain one hangs.
            let waits = question == Question::JszPlain
                && reason == Some("timeout")
                && endpoint == "jsz_detail";
            let fails = waits || question.endpoints().contains(&endpoint);
            // What reads the detail gives way to everything, so on a busy machine it may be late though it is well.
            if fails || BASE.contains(&endpoint) {
                judge.endpoint(&self.server, endpoint, reason.filter(|_| fails));
            }
        }
        let is_base = question.endpoints().iter().any(|endpoint| BASE.contains(endpoint));
        judge.others_are_well(Some(&*self.server).filter(|_| is_base));
        let after = self.until_well().await?;
        for endpoint in question.endpoints() {
            if let Some(reason) = reason
                && errors(&after, endpoint, reason) <= errors(before, endpoint, reason)
            {
                judge.problems.push(format!("no error of {endpoint} is counted"));
            }
        }
        Ok((judge.cell(case.what, &self.server), after))
    }

    /// Looks while a whole target is broken.
    pub(super) async fn broken(&self, broken: Broken) -> Result<Cell> {
        let (base, all) = self.scraper.scrape_both().await?;
        let mut judge = Judge::new(&base, &all, self.scene.limits);
        let host = self.target.url.split_once("://").map_or("", |(_, host)| host);
        judge.base_has(&self.well);
        for endpoint in ASKED_AT_FIRST {
            judge.endpoint(host, endpoint, Some(broken.reason()));
        }
        judge.others_are_well(Some(host));
        Ok(judge.cell(broken.what(), host))
    }

    /// Scrapes until nothing of the base tier is missing.
    async fn until_well(&self) -> Result<Samples> {
        let is_well = |found: &BTreeSet<Series>| match self.well.difference(found).next() {
            None => Ok(()),
            Some(missing) => Err(format!("{missing:?} again")),
        };
        self.scraper.until("/metrics", BACK_LIMIT, is_well).await
    }
}

/// How many errors of an endpoint are counted.
fn errors(samples: &Samples, endpoint: &str, reason: &str) -> f64 {
    let labels = [("endpoint", endpoint), ("reason", reason)];
    samples.find("nats_exporter_endpoint_errors_total", &labels).map(Sample::value).sum()
}
