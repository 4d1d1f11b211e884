//! Order statistics of repeated timings.

/// Median and spread of a set of timings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub p5: f64,
    pub p95: f64,
}

impl Summary {
    /// `None` for no samples.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |q: f64| sorted.get(((sorted.len() as f64 - 1.0) * q).round() as usize).copied();
        Some(Self { median: at(0.5)?, p5: at(0.05)?, p95: at(0.95)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_ramp() {
        let ramp: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(Summary::of(&ramp), Some(Summary { median: 50.0, p5: 5.0, p95: 95.0 }));
        assert_eq!(Summary::of(&[7.0]), Some(Summary { median: 7.0, p5: 7.0, p95: 7.0 }));
        assert_eq!(Summary::of(&[]), None);
    }
}
