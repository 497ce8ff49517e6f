//! What was measured again and again over a run, and whether it grew.

/// The run in equal parts: what was usual in each.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    /// The median of each part, in order.
    pub parts: Vec<f64>,
    /// The highest of all values.
    pub highest: f64,
}

impl Trend {
    /// Of values that were measured at a steady pace; nothing when there are fewer than parts.
    #[must_use]
    pub fn of(values: &[f64], parts: usize) -> Option<Self> {
        let length = values.len().checked_div(parts).filter(|length| *length > 0)?;
        Some(Self {
            parts: values.chunks_exact(length).take(parts).map(median).collect(),
            highest: values.iter().copied().fold(f64::MIN, f64::max),
        })
    }

    /// How much the last part is above the first.
    #[must_use]
    pub fn rise(&self) -> f64 {
        self.parts[self.parts.len() - 1] - self.parts[0]
    }

    /// The same as a share of the first.
    #[must_use]
    pub fn growth(&self) -> f64 {
        self.rise() / self.parts[0]
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_up_and_down_does_not_grow_and_what_leaks_does() {
        let saw: Vec<f64> = (0..300).map(|at| 100.0 + f64::from(at % 10)).collect();
        let trend = Trend::of(&saw, 3).unwrap();
        assert!(trend.growth().abs() < 1e-9 && trend.parts.len() == 3, "{trend:?}");
        assert!((trend.highest - 109.0).abs() < 1e-9, "{trend:?}");
        let leak: Vec<f64> =
            (0..300).map(|at| 100.0 + f64::from(at % 10) + f64::from(at) / 10.0).collect();
        assert!(Trend::of(&leak, 3).unwrap().growth() > 0.15);
    }

    #[test]
    fn one_peak_is_not_growth() {
        let mut values = vec![100.0; 90];
        values[80] = 500.0;
        let trend = Trend::of(&values, 3).unwrap();
        assert!(trend.growth().abs() < 1e-9 && (trend.highest - 500.0).abs() < 1e-9, "{trend:?}");
    }

    #[test]
    fn there_is_none_of_too_few_values() {
        assert_eq!(Trend::of(&[1.0, 2.0], 3), None);
    }
}
