//! What servers said of themselves, and the samples that say something else.

use super::Span;

/// A scrape may share a request that another one sent a moment before.
const SHARED: f64 = 1.0;

/// What a server said of a counter when it was asked directly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// When it was asked and when it had answered, in seconds since the epoch.
    pub asked: Span,
    /// The counter.
    pub value: f64,
}

/// The samples (time and value) of a counter of one server that cannot be what it said then, one sentence each; and how
/// many were compared.
///
/// What a scrape shows was true when it began or until `longest` seconds later. So it is not below what the server had
/// said before, and not above what it said afterwards, between the same two of its `starts` (moments, in order): one
/// that is too low is old, and one that is too high comes from before the start.
#[must_use]
pub fn untrue(
    samples: &[(f64, f64)],
    readings: &[Reading],
    starts: &[f64],
    longest: f64,
) -> (Vec<String>, usize) {
    let run = |at: f64| starts.partition_point(|start| *start <= at);
    let mut lies = Vec::new();
    let mut compared = 0;
    for (at, value) in samples {
        let next = readings.partition_point(|reading| reading.asked.from < at + longest);
        let after = readings.get(next).filter(|reading| run(reading.asked.from) == run(*at));
        let previous = readings.partition_point(|reading| reading.asked.to + SHARED <= *at);
        let before = previous.checked_sub(1).map(|index| &readings[index]);
        let before = before.filter(|reading| run(reading.asked.to) == run(*at));
        compared += usize::from(before.is_some() || after.is_some());
        if let Some(said) = before.filter(|said| *value < said.value) {
            let (then, said) = (said.asked.to, said.value);
            lies.push(format!("{value} at {at:.1}, after the server had said {said} at {then:.1}"));
        }
        if let Some(said) = after.filter(|said| *value > said.value) {
            let (then, said) = (said.asked.from, said.value);
            lies.push(format!("{value} at {at:.1}, before the server said {said} at {then:.1}"));
        }
    }
    (lies, compared)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that counts ten a second, was asked every ten seconds, and was started anew at 50.
    fn readings() -> Vec<Reading> {
        let reading = |at: u32| {
            let at = f64::from(at);
            let value = if at < 50.0 { at } else { at - 50.0 } * 10.0;
            Reading { asked: Span { from: at, to: at + 0.1 }, value }
        };
        (0..10).map(|index| reading(index * 10 + 2)).collect()
    }

    fn lies(samples: &[(f64, f64)]) -> Vec<String> {
        let (lies, compared) = untrue(samples, &readings(), &[50.0], 5.0);
        assert_eq!(compared, samples.len());
        lies
    }

    #[test]
    fn what_the_server_said_too_is_true() {
        assert_eq!(
            lies(&[(3.0, 30.0), (15.0, 151.0), (45.0, 450.0), (51.0, 10.0), (60.0, 100.0)]),
            [""; 0]
        );
    }

    #[test]
    fn a_value_of_the_last_scrape_is_stale() {
        let lies = lies(&[(15.0, 150.0), (25.0, 150.0)]);
        assert_eq!(lies, ["150 at 25.0, after the server had said 220 at 22.1"]);
    }

    #[test]
    fn a_value_from_before_the_start_is_stale() {
        let lies = lies(&[(45.0, 450.0), (51.0, 450.0)]);
        assert_eq!(lies, ["450 at 51.0, before the server said 120 at 62.0"]);
    }

    #[test]
    fn a_counter_that_is_ahead_of_the_server_is_untrue() {
        assert_eq!(lies(&[(15.0, 400.0)]), ["400 at 15.0, before the server said 220 at 22.0"]);
    }

    #[test]
    fn nothing_is_compared_with_another_run() {
        let readings = [Reading { asked: Span { from: 2.0, to: 2.1 }, value: 20.0 }];
        assert_eq!(untrue(&[(51.0, 10.0)], &readings, &[50.0], 5.0), (Vec::new(), 0));
    }
}
