//! Stretches of time, and what is missing in them.

use std::fmt;

/// A stretch of time, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Its begin.
    pub from: f64,
    /// Its end.
    pub to: f64,
}

/// A stretch of time in which a series should have had samples and had none.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    /// The series.
    pub series: String,
    /// When.
    pub span: Span,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} has no sample for {:.1} s from {:.1}",
            self.series,
            self.span.length(),
            self.span.from
        )
    }
}

impl Span {
    /// Seconds.
    #[must_use]
    pub fn length(self) -> f64 {
        self.to - self.from
    }

    /// Is this moment part of it?
    #[must_use]
    pub fn contains(self, at: f64) -> bool {
        (self.from..=self.to).contains(&at)
    }

    /// What is left when `others`, which are in order, are taken away.
    fn without(self, others: &[Self]) -> Vec<Self> {
        let mut left = Vec::new();
        let mut from = self.from;
        for other in others.iter().filter(|other| other.to > self.from && other.from < self.to) {
            left.push(Self { from, to: other.from });
            from = other.to;
        }
        left.push(Self { from, to: self.to });
        left
    }
}

/// The stretches of `whole` without a sample that are longer than `longest` seconds, after `outages`, which are in
/// order, have been taken away: the begin and the end of an outage count like samples.
#[must_use]
pub fn gaps(samples: &[f64], whole: Span, outages: &[Span], longest: f64) -> Vec<Span> {
    let inside = samples.iter().copied().filter(|at| whole.contains(*at));
    let mut last = whole.from;
    inside
        .chain([whole.to])
        .flat_map(|at| {
            let between = Span { from: last, to: at };
            last = at;
            between.without(outages)
        })
        .filter(|span| span.length() > longest)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Span = Span { from: 0.0, to: 60.0 };

    /// A sample every five seconds, but for those between `from` and `to`.
    fn samples_without(from: f64, to: f64) -> Vec<f64> {
        (0..=12).map(|at| f64::from(at) * 5.0).filter(|at| *at < from || *at > to).collect()
    }

    fn span(from: f64, to: f64) -> Span {
        Span { from, to }
    }

    #[test]
    fn a_series_without_a_break_has_no_gap() {
        assert_eq!(gaps(&samples_without(100.0, 100.0), WHOLE, &[], 10.0), []);
    }

    #[test]
    fn one_missing_sample_is_no_gap_and_two_are_one() {
        assert_eq!(gaps(&samples_without(20.0, 20.0), WHOLE, &[], 10.0), []);
        assert_eq!(gaps(&samples_without(20.0, 25.0), WHOLE, &[], 10.0), [span(15.0, 30.0)]);
    }

    #[test]
    fn an_outage_explains_a_gap_and_what_lasts_longer_than_it_does_not() {
        let samples = samples_without(20.0, 40.0);
        assert_eq!(gaps(&samples, WHOLE, &[span(17.0, 38.0)], 10.0), []);
        assert_eq!(gaps(&samples, WHOLE, &[span(17.0, 30.0)], 10.0), [span(30.0, 45.0)]);
        assert_eq!(gaps(&samples, WHOLE, &[span(31.0, 38.0)], 10.0), [span(15.0, 31.0)]);
        assert_eq!(
            gaps(&samples, WHOLE, &[span(2.0, 4.0), span(50.0, 52.0)], 10.0),
            [span(15.0, 45.0)]
        );
    }

    #[test]
    fn two_outages_do_not_explain_what_is_between_them() {
        let samples = samples_without(10.0, 50.0);
        let outages = [span(8.0, 15.0), span(45.0, 52.0)];
        assert_eq!(gaps(&samples, WHOLE, &outages, 10.0), [span(15.0, 45.0)]);
    }

    #[test]
    fn a_series_that_comes_late_or_ends_early_or_never_comes_has_a_gap() {
        assert_eq!(gaps(&samples_without(0.0, 15.0), WHOLE, &[], 10.0), [span(0.0, 20.0)]);
        assert_eq!(gaps(&samples_without(45.0, 60.0), WHOLE, &[], 10.0), [span(40.0, 60.0)]);
        assert_eq!(gaps(&[], WHOLE, &[], 10.0), [WHOLE]);
    }
}
