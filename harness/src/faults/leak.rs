//! Ten thousand scrapes over all faults in turn, and what is left behind by them.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};

use super::plan::{Broken, CASES, QUESTIONS};
use super::scraper::Scraper;
use super::target::Target;
use super::{Limits, Place, Scene};
use crate::monitor::Question;
use crate::{Error, Result};

/// Short, since faults that stall take all of it.
const LIMITS: Limits = Limits {
    announced: Duration::from_millis(400),
    base: Duration::from_millis(200),
    persistence: Duration::from_millis(300),
    margin: Duration::from_millis(50),
};

/// One scrape in so many is of all targets; the others are of one.
const OF_ALL: usize = 10;

/// Idle threads are kept for 10 s.
pub(super) const QUIET: Duration = Duration::from_secs(15);

/// Memory may grow by one part in so many: an allocator keeps some of what was given back.
const GROWTH: u64 = 10;

/// What the exporter takes while nobody asks it.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub descriptors: usize,
    /// Those of them that are sockets.
    pub sockets: usize,
    /// Threads.
    pub threads: usize,
    /// Tasks of its runtime.
    pub tasks: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Scrapes before the first look: enough for each target to have had each fault.
    pub warm_up: usize,
    /// Scrapes from the first look to the second one.
    pub scrapes: usize,
    /// Targets of the exporter.
    pub targets: usize,
    /// How long the scrapes took, and the quiet not.
    pub took: Duration,
    /// At the first look.
    pub before: Usage,
    /// At the second.
    pub after: Usage,
    /// What was not as it should be, one sentence each.
    pub problems: Vec<String>,
}

/// Scrapes an exporter of all servers of the scene, each behind a gate, and of targets that are broken altogether.
pub async fn hold(scene: &Scene, total: usize) -> Result<Outcome> {
    let urls = scene.cluster.monitor_urls();
    let gates = urls.iter().map(|url| Target::set(url, Place::Question(Question::Any)));
    let gates = try_join_all(gates).await?;
    let broken = Broken::ALL.into_iter().map(|broken| Target::set(&urls[0], Place::Target(broken)));
    let broken = try_join_all(broken).await?;
    let targets = || gates.iter().chain(&broken);
    // What is kept for each target, such as a connection, is there after that.
    let warm_up = QUESTIONS.len() * CASES.len() * targets().count();
    let all = targets().map(|target| target.url.clone());
    let scraper = Scraper::start(scene, "leak", LIMITS, all).await?;
    let mut took = Duration::ZERO;
    let mut looks = Vec::new();
    let mut problems = Vec::new();
    for count in [warm_up, total] {
        let started = Instant::now();
        let left = AtomicUsize::new(count);
        let lanes =
            targets().enumerate().map(|(lane, target)| hold_lane(&scraper, target, lane, &left));
        problems.extend(join_all(lanes).await.into_iter().flatten());
        took += started.elapsed();
        // What was given up has ended by then, and makes no more connections.
        tokio::time::sleep(3 * LIMITS.persistence).await;
        for target in targets() {
            if matches!(target.place, Place::Question(_)) {
                target.gate.heal();
            }
            // Else the exporter would keep some connections that it does not use.
            target.gate.hang_up();
        }
        tokio::time::sleep(QUIET).await;
        looks.push(look(&scraper).await?);
    }
    let (before, after) = (looks[0], looks[1]);
    problems.sort_unstable();
    problems.dedup();
    problems.extend(growth(before, after, targets().count()));
    let targets = targets().count();
    Ok(Outcome { warm_up, scrapes: total, targets, took, before, after, problems })
}

/// Scrapes one target under one fault after the other, as long as scrapes are left; what went wrong.
async fn hold_lane(
    scraper: &Scraper,
    target: &Target,
    lane: usize,
    left: &AtomicUsize,
) -> Vec<String> {
    let faults =
        QUESTIONS.iter().flat_map(|question| CASES.iter().map(|case| (*question, &case.fault)));
    // Every lane starts elsewhere.
    let faults = faults.cycle().skip(lane * CASES.len() / 2);
    let mut problems = Vec::new();
    for (turn, (question, fault)) in faults.enumerate() {
        let take = |left: usize| left.checked_sub(1);
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            break;
        }
        if matches!(target.place, Place::Question(_)) {
            target.gate.heal();
            target.gate.spoil(question, fault.clone());
        }
        let path = match turn % OF_ALL {
            0 => "/metrics".to_owned(),
            _ => format!("/probe?target={}", target.url),
        };
        if let Err(error) = scraper.scrape(&path).await {
            problems.push(error.to_string());
        }
    }
    problems
}

/// What grew by more than chance. The client of a target has a task while it keeps connections, and up to a minute and a half
/// longer.
fn growth(before: Usage, after: Usage, targets: usize) -> Vec<String> {
    let mut problems = Vec::new();
    let mut compare = |what: &str, before: u64, after: u64, allowed: u64| {
        if after > before + allowed {
            problems.push(format!("{what} grew from {before} to {after}"));
        }
    };
    let (was, is) = (before.resident_bytes, after.resident_bytes);
    compare("resident memory", was, is, was / GROWTH);
    compare("file descriptors", before.descriptors as u64, after.descriptors as u64, 0);
    compare("sockets", before.sockets as u64, after.sockets as u64, 0);
    compare("threads", before.threads as u64, after.threads as u64, 0);
    compare("tasks", before.tasks, after.tasks, targets as u64);
    problems
}

/// What the kernel and the exporter itself tell.
async fn look(scraper: &Scraper) -> Result<Usage> {
    let process = std::path::Path::new("/proc").join(scraper.exporter.process().pid().to_string());
    let entries = |name: &str| {
        let path = process.join(name);
        let entries = fs::read_dir(&path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        entries.map_err(Error::file("cannot read", &path))
    };
    let files = entries("fd")?;
    // One that was closed meanwhile is none.
    let sockets = files.iter().filter_map(|file| fs::read_link(file.path()).ok());
    let sockets = sockets.filter(|link| link.to_string_lossy().starts_with("socket:"));
    let status = process.join("status");
    let text = fs::read_to_string(&status).map_err(Error::file("cannot read", &status))?;
    let resident = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = resident.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let usage = Usage {
        resident_bytes: kilobytes.unwrap_or_default() << 10,
        descriptors: files.len(),
        sockets: sockets.count(),
        threads: entries("task")?.len(),
        tasks: 0,
    };
    // Only now, because the connection of the scrape is a descriptor of its own.
    let own = scraper.scrape("/metrics?tier=exporter").await?.samples;
    let tasks = own.find("nats_exporter_tasks", &[]).find_map(|tasks| tasks.text.parse().ok());
    Ok(Usage { tasks: tasks.unwrap_or_default(), ..usage })
}
