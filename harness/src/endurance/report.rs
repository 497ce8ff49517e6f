//! What came of the long runs, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::{Latency, Loaded, Manner, Soaked, Stop, Trend};

/// The whole of `docs/load.md`.
#[must_use]
pub fn load(loaded: &Loaded) -> String {
    let Loaded { load, filled, base, full, .. } = loaded;
    let dataset = load.dataset;
    let mut text = format!(
        "# Load\n\n\
         Written by `make load`; do not edit.\n\n\
         One nats-server {version} with {streams} streams and {consumers} consumers, one exporter without a limit on \
         series, and {scrapers} scrapers on connections that stay open, with the headers of \
         Prometheus 3: half of them ask for the base tier every {base_every} s, the others for everything every \
         {full_every} s. In one round all ask at the same moment, in the next they are spread over half of the interval. \
         They went on for {lasts} s. Every answer had to come within {timeout} s with status 200, was unpacked and read to its \
         end, and had to hold as many samples as an answer without load, with every server and endpoint up. Between \
         the exporter and the server stood a proxy that counts. All of it shared one machine with {cores} \
         processors.\n\n{verdict}\n\n\
         |  | base tier | everything |\n| --- | ---: | ---: |\n",
        version = load.version,
        streams = number(u64::from(dataset.streams)),
        consumers = number(u64::from(dataset.streams) * u64::from(dataset.consumers)),
        scrapers = load.scrapers,
        base_every = load.base.as_secs(),
        full_every = load.full.as_secs(),
        lasts = load.lasts.as_secs(),
        timeout = load.timeout.as_secs(),
        cores = cores(),
        verdict = verdict(&loaded.problems()),
    );
    let mut row = |what: &str, of: &dyn Fn(&Latency) -> String| {
        let _ = writeln!(text, "| {what} | {} | {} |", of(base), of(full));
    };
    row("scrapes", &|latency| number(latency.count() as u64));
    for (name, share) in [("median", 0.5), ("p99", 0.99), ("longest", 1.0)] {
        row(&format!("{name}, ms"), &|latency| milliseconds(latency.quantile(share)));
    }
    let [base_series, full_series] = loaded.series.map(|count| number(count as u64));
    let _ = write!(
        text,
        "| samples in each answer | {base_series} | {full_series} |\n\n\
         |  |  |\n| --- | ---: |\n\
         | answers with an error, incomplete or not of the usual size | {} |\n\
         | most scrapes under way at the same time | {} |\n\
         | requests that the server got | {} |\n\
         | of these for `/jsz` | {} |\n\
         | most requests for `/jsz` under way at the same time | {} |\n",
        number(loaded.failures.values().sum::<usize>() as u64),
        loaded.most_scrapes,
        number(loaded.requests as u64),
        number(loaded.jsz as u64),
        loaded.most_jsz,
    );
    trend(&mut text, "resident memory in thirds of the run, MiB", loaded.memory.as_ref(), MEBIBYTE);
    let _ = writeln!(text, "| seconds to fill the server | {} |", filled.as_secs());
    lateness(&mut text, loaded.lateness);
    text
}

/// One line for a restart.
#[must_use]
pub fn line(stop: &Stop) -> String {
    format!(
        "{} {}: ended after {:.1} s, down for {:.1} s, answered {:.1} s after its start",
        stop.server,
        stop.manner.what(),
        stop.ended - stop.told,
        stop.started - stop.ended,
        stop.answered - stop.started,
    )
}

/// The whole of `docs/soak.md`.
#[must_use]
pub fn soak(soaked: &Soaked) -> String {
    let Soaked { soak, stops, .. } = soaked;
    let mut text = format!(
        "# Soak\n\n\
         Written by `make soak`; do not edit.\n\n\
         Three servers of nats-server {version} with streams of three replicas and traffic, one exporter, and a real \
         Prometheus with the shipped rules, which scrapes the base tier every {base} s and the persistence tier every \
         {persistence} s. For {lasts} s, one server after the other was killed, stopped in good order or sent into lame \
         duck mode, one every {every} s, and started again {down} s after its end. All of it shared one machine with \
         {cores} processors.\n\n\
         Afterwards Prometheus was asked for every sample of the run. A *gap* is more than two intervals without a \
         sample: `up`, `nats_up` and the state of the base tier may have none at all, and all that `/varz` gives may \
         have none that is not within the time from the stop of that server to its first answer. *Untrue* is any \
         series of a server that had ended, but for those that say that it is down; a server called up while it was down, or \
         down while it answered; and a counter below what the server had said before or above what it said \
         afterwards, when it was asked directly every two seconds.\n\n{verdict}\n\n\
         |  |  |\n| --- | ---: |\n\
         | restarts | {restarts} |\n\
         | series of the base tier | {series} |\n\
         | their samples | {samples} |\n\
         | gaps that no fault explains | {gaps} |\n\
         | samples compared with the servers | {compared} |\n\
         | untrue values | {lies} |\n",
        version = soak.version,
        base = soak.base.as_secs(),
        persistence = soak.persistence.as_secs(),
        lasts = soak.lasts.as_secs(),
        every = soak.every.as_secs(),
        down = soak.down.as_secs(),
        cores = cores(),
        verdict = verdict(&soaked.problems()),
        restarts = stops.len(),
        series = number(soaked.series as u64),
        samples = number(soaked.samples as u64),
        gaps = soaked.gaps.len(),
        compared = number(soaked.compared as u64),
        lies = soaked.lies.len(),
    );
    trend(
        &mut text,
        "resident memory in quarters of the run, MiB",
        soaked.memory.as_ref(),
        MEBIBYTE,
    );
    trend(
        &mut text,
        "open file descriptors in quarters of the run",
        soaked.descriptors.as_ref(),
        1.0,
    );
    lateness(&mut text, soaked.lateness);
    let alerts: Vec<String> = soaked.alerts.iter().map(|alert| format!("`{alert}`")).collect();
    let _ = writeln!(text, "| alerts that fired | {} |", alerts.join(", "));
    text.push_str(
        "\n## Restarts\n\n\
         | how | restarts | longest until its end, s | longest from start to answer, s |\n| --- | ---: | ---: | ---: |\n",
    );
    let mut by_manner: BTreeMap<&str, Vec<&Stop>> = BTreeMap::new();
    for stop in stops {
        by_manner.entry(stop.manner.what()).or_default().push(stop);
    }
    for manner in Manner::ALL.map(Manner::what) {
        let stops = by_manner.get(manner).map(Vec::as_slice).unwrap_or_default();
        let longest =
            |of: &dyn Fn(&Stop) -> f64| stops.iter().map(|stop| of(stop)).fold(0.0, f64::max);
        let ended = longest(&|stop| stop.ended - stop.told);
        let answered = longest(&|stop| stop.answered - stop.started);
        let _ = writeln!(text, "| {manner} | {} | {ended:.1} | {answered:.1} |", stops.len());
    }
    text
}

const MEBIBYTE: f64 = (1 << 20) as f64;

fn verdict(problems: &[String]) -> String {
    if problems.is_empty() {
        return "Nothing was wrong.".to_owned();
    }
    let list: Vec<String> = problems.iter().map(|problem| format!("- {problem}")).collect();
    format!("**This was wrong**:\n\n{}", list.join("\n"))
}

fn trend(text: &mut String, what: &str, trend: Option<&Trend>, unit: f64) {
    let Some(trend) = trend else { return };
    let parts: Vec<String> = trend.parts.iter().map(|part| format!("{:.1}", part / unit)).collect();
    let growth = trend.growth() * 100.0;
    let highest = trend.highest / unit;
    let _ = writeln!(
        text,
        "| {what}: median of each; growth; highest | {}; {growth:+.1} %; {highest:.1} |",
        parts.join(", ")
    );
}

fn lateness(text: &mut String, worst: Duration) {
    let _ = writeln!(
        text,
        "| a task of the harness woken up late, at worst, ms | {} |",
        worst.as_millis()
    );
}

fn milliseconds(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1000.0;
    if milliseconds < 100.0 { format!("{milliseconds:.1}") } else { format!("{milliseconds:.0}") }
}

/// With commas between the thousands.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    groups.join(",")
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
