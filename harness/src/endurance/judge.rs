//! What of a server's series should not be so, given when it was stopped and what it said.

use std::collections::BTreeMap;

use serde_json::Value;

use super::soak::Stop;
use super::{Gap, Reading, Span, gaps, untrue};
use crate::Samples;

pub(super) const BASE_JOB: &str = "nats-exporter-base";
/// What is read of a server directly, and the series that shows it.
pub(super) const COUNTERS: [(&str, &str); 3] = [
    ("in_msgs", "nats_server_in_messages_total"),
    ("out_bytes", "nats_server_out_bytes_total"),
    ("total_connections", "nats_server_connections_opened_total"),
];
/// What there is of a server that does not answer: that it does not.
const OF_A_DEAD_ONE: [&str; 5] = [
    "nats_health_check_duration_seconds",
    "nats_health_check_ok",
    "nats_tier_reason",
    "nats_tier_state",
    "nats_up",
];
/// Scrapes are a bit off their time, and clocks are read one after the other.
const BLUR: f64 = 0.25;
/// A scrape has begun before it asks.
const HEAD_START: f64 = 1.0;

/// By server and name of the series, in order of time.
pub(super) type Readings = BTreeMap<(String, &'static str), Vec<Reading>>;

/// What is known apart from Prometheus.
#[derive(Debug)]
pub(super) struct Judge<'j> {
    /// Seconds from one scrape of the base tier to the next.
    pub(super) interval: f64,
    pub(super) whole: Span,
    pub(super) stops: &'j [Stop],
    pub(super) readings: &'j Readings,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Findings {
    /// Series of the base tier that were looked through.
    pub(super) series: usize,
    /// Their samples.
    pub(super) samples: usize,
    /// Gaps that no outage of their server explains.
    pub(super) gaps: Vec<Gap>,
    /// Samples that were compared with what the servers said themselves.
    pub(super) compared: usize,
    /// Values that were not true, one sentence each.
    pub(super) lies: Vec<String>,
}

impl Judge<'_> {
    /// Looks at all series of one server.
    pub(super) fn server(&self, server: &str, all: &[Samples], findings: &mut Findings) {
        let stops: Vec<&Stop> = self.stops.iter().filter(|stop| stop.server == server).collect();
        let outages: Vec<Span> = stops.iter().map(|stop| stop.outage()).collect();
        let base = all.iter().filter(|(labels, _)| is_base(labels));
        let (always, while_up): (Vec<_>, Vec<_>) = base.partition(|(labels, _)| says_state(labels));
        for (kind, series, outages) in [("state", always, &[][..]), ("/varz", while_up, &outages)] {
            if series.is_empty() {
                let series = format!("the {kind} of {server}");
                findings.gaps.push(Gap { series, span: self.whole });
            }
            for series in series {
                self.continuity(series, outages, findings);
            }
        }
        for (labels, samples) in all {
            let name = text(labels, "__name__");
            if is_of_a_live_one(name) {
                self.silence(labels, samples, &stops, findings);
            }
            if name == "nats_up" {
                self.up(server, samples, &stops, findings);
            }
            if let Some((_, counter)) = COUNTERS.iter().find(|(_, counter)| *counter == name) {
                let readings = self.readings.get(&(server.to_owned(), *counter));
                let readings = readings.map(Vec::as_slice).unwrap_or_default();
                let starts: Vec<f64> = stops.iter().map(|stop| stop.started).collect();
                let (lies, compared) = untrue(samples, readings, &starts, self.interval);
                findings.compared += compared;
                let lies = lies.into_iter().map(|lie| format!("{} is {lie}", display(labels)));
                findings.lies.extend(lies);
            }
        }
    }

    /// A series of the base tier has samples whenever no outage is the reason why not.
    pub(super) fn continuity(&self, series: &Samples, outages: &[Span], findings: &mut Findings) {
        let (labels, samples) = series;
        let times: Vec<f64> = samples.iter().map(|(at, _)| *at).collect();
        findings.series += 1;
        findings.samples += times.len();
        let gaps = gaps(&times, self.whole, outages, 2.0 * self.interval + BLUR);
        findings.gaps.extend(gaps.into_iter().map(|span| Gap { series: display(labels), span }));
    }

    /// There is nothing of a server that had ended.
    fn silence(
        &self,
        labels: &Value,
        samples: &[(f64, f64)],
        stops: &[&Stop],
        findings: &mut Findings,
    ) {
        for stop in stops {
            let stale = samples.iter().find(|(at, _)| self.is_down(stop, *at));
            findings.lies.extend(stale.map(|(at, value)| {
                format!("{} is {value} at {at:.1}, when its server had ended", display(labels))
            }));
        }
    }

    /// While the server was down it was called down, and else up.
    fn up(&self, server: &str, samples: &[(f64, f64)], stops: &[&Stop], findings: &mut Findings) {
        for (at, value) in samples.iter().filter(|(at, _)| self.whole.contains(*at)) {
            let is_up = *value > 0.5;
            let explained = |stop: &&Stop| {
                let outage = stop.outage();
                Span { from: outage.from - HEAD_START, ..outage }.contains(*at)
            };
            if is_up && stops.iter().any(|stop| self.is_down(stop, *at)) {
                findings.lies.push(format!("{server} is called up at {at:.1}, when it had ended"));
            } else if !is_up && !stops.iter().any(explained) {
                findings.lies.push(format!("{server} is called down at {at:.1}, when it answered"));
            }
        }
    }

    /// Was there no process for sure?
    fn is_down(&self, stop: &Stop, at: f64) -> bool {
        let down = Span { from: stop.ended + BLUR, to: stop.started - BLUR };
        down.contains(at) && self.whole.contains(at)
    }
}

fn is_base(labels: &Value) -> bool {
    let name = text(labels, "__name__");
    says_state(labels) || (name.starts_with("nats_server_") && lasts(name))
}

/// What is said of the base tier of a server whether it answers or not.
fn says_state(labels: &Value) -> bool {
    let name = text(labels, "__name__");
    let is_state = name == "nats_tier_state" && labels["tier"] == "base";
    text(labels, "job") == BASE_JOB && (name == "nats_up" || is_state)
}

/// Series with the same labels after a restart, unlike those with an id or with paths that were asked.
fn lasts(name: &str) -> bool {
    !name.ends_with("_info") && name != "nats_server_http_requests_total"
}

fn is_of_a_live_one(name: &str) -> bool {
    !OF_A_DEAD_ONE.contains(&name)
        && !name.starts_with("nats_exporter_")
        && !name.ends_with("_probe_would_fail")
}

pub(super) fn text<'l>(labels: &'l Value, label: &str) -> &'l str {
    labels[label].as_str().unwrap_or_default()
}

/// Name and labels of a series, without those that all have.
fn display(labels: &Value) -> String {
    let common = ["__name__", "job", "instance", "nats_cluster"];
    let own = labels.as_object().into_iter().flatten();
    let own = own.filter(|(label, _)| !common.contains(&label.as_str()));
    let own: Vec<String> = own.map(|(label, value)| format!("{label}={value}")).collect();
    format!("{}{{{}}}", text(labels, "__name__"), own.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Manner;
    use super::*;

    /// Scraped every five seconds for two minutes; killed at 41, started at 49, and answered at 50.
    fn judged(change: impl FnOnce(&mut Vec<Samples>)) -> Findings {
        let stop = Stop {
            server: "n1".to_owned(),
            manner: Manner::Killed,
            told: 41.0,
            ended: 41.0,
            started: 49.0,
            answered: 50.0,
        };
        let down = |at: f64| (41.0..50.0).contains(&at);
        let counter = |at: f64| if at < 41.0 { at } else { at - 49.0 } * 10.0;
        let times = || (0..=24).map(|at| f64::from(at) * 5.0);
        let series = |name: &str, samples: Vec<(f64, f64)>| {
            (json!({"__name__": name, "job": BASE_JOB, "server": "n1"}), samples)
        };
        let up = times().map(|at| (at, f64::from(u8::from(!down(at)))));
        let messages = times().filter(|at| !down(*at)).map(|at| (at, counter(at)));
        let mut all = vec![
            series("nats_up", up.collect()),
            series("nats_server_in_messages_total", messages.collect()),
        ];
        change(&mut all);
        let asked = |at: f64| Span { from: at, to: at + 0.1 };
        let readings = times().map(|at| at + 2.0).filter(|at| !down(*at));
        let readings = readings.map(|at| Reading { asked: asked(at), value: counter(at) });
        let judge = Judge {
            interval: 5.0,
            whole: Span { from: 0.0, to: 120.0 },
            stops: &[stop],
            readings: &[(("n1".to_owned(), "nats_server_in_messages_total"), readings.collect())]
                .into(),
        };
        let mut findings = Findings::default();
        judge.server("n1", &all, &mut findings);
        findings
    }

    #[test]
    fn a_server_that_was_down_and_came_back_is_in_order() {
        let findings = judged(|_| ());
        assert_eq!((&*findings.gaps, &*findings.lies), (&[][..], &[][..]));
        assert_eq!((findings.series, findings.samples, findings.compared), (2, 49, 24));
    }

    #[test]
    fn a_series_that_goes_on_without_its_server_is_stale() {
        let findings = judged(|all| {
            all[1].1.push((45.0, 410.0));
            all[1].1.sort_by(|a, b| a.0.total_cmp(&b.0));
        });
        assert!(
            findings.lies[0].ends_with("is 410 at 45.0, when its server had ended"),
            "{findings:?}"
        );
    }

    #[test]
    fn the_counter_of_the_old_process_is_stale() {
        let findings = judged(|all| {
            all[1]
                .1
                .iter_mut()
                .filter(|(at, _)| (50.0..56.0).contains(at))
                .for_each(|s| s.1 = 400.0);
        });
        assert_eq!(findings.lies.len(), 2, "{findings:?}");
        assert!(
            findings.lies.iter().all(|lie| lie.contains("before the server said")),
            "{findings:?}"
        );
    }

    #[test]
    fn a_dead_server_is_not_called_up_nor_a_live_one_down() {
        let findings = judged(|all| all[0].1.iter_mut().for_each(|sample| sample.1 = 1.0));
        assert_eq!(findings.lies, ["n1 is called up at 45.0, when it had ended"]);
        let findings = judged(|all| all[0].1[20].1 = 0.0);
        assert_eq!(findings.lies, ["n1 is called down at 100.0, when it answered"]);
    }

    #[test]
    fn an_outage_explains_a_gap_of_varz_and_none_of_the_state() {
        let findings = judged(|all| {
            for series in all {
                series.1.retain(|(at, _)| !(36.0..56.0).contains(at));
            }
        });
        let series: Vec<&str> = findings.gaps.iter().map(|gap| &*gap.series).collect();
        assert_eq!(series, ["nats_up{server=\"n1\"}"], "{findings:?}");
    }

    #[test]
    fn a_gap_without_an_outage_is_found_in_both_and_so_is_a_server_without_series() {
        let findings = judged(|all| {
            for series in all {
                series.1.retain(|(at, _)| !(80.0..95.0).contains(at));
            }
        });
        assert_eq!(findings.gaps.len(), 2, "{findings:?}");
        assert!(
            findings.gaps.iter().all(|gap| gap.span == Span { from: 75.0, to: 95.0 }),
            "{findings:?}"
        );
        assert_eq!(judged(Vec::clear).gaps.len(), 2);
    }
}
