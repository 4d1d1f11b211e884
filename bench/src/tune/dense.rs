//! What dense weights cost: a line through the baselines of earlier benchmarks.

use std::collections::BTreeMap;

use flash_llm::plan::model::Dense;

use crate::csv::Row;
use crate::stats::Summary;

/// The law with the least relative squared error of the medians of each shape and N that cuBLAS was timed with on the
/// device. `None` without two sizes.
pub fn fit(rows: &[Row], device: &str) -> Option<Dense> {
    let mut times: BTreeMap<(usize, usize, usize), Vec<f64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| {
        row.op == "spmm" && row.device == device && row.baseline.starts_with("cublas")
    }) {
        if let (Some(us), true) = (row.baseline_us, row.n <= Dense::MOST_COLUMNS as usize) {
            times.entry((row.m, row.k, row.n)).or_default().push(us);
        }
    }
    // Weighted least squares of time over bytes, by 1 / time^2.
    let (mut w, mut wx, mut wy, mut wxx, mut wxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (&(m, k, _), us) in &times {
        let y = Summary::of(us)?.median;
        let (x, weight) = (2.0 * m as f64 * k as f64, 1.0 / (y * y));
        w += weight;
        wx += weight * x;
        wy += weight * y;
        wxx += weight * x * x;
        wxy += weight * x * y;
    }
    let least = times.keys().map(|&(m, k, _)| (m * k) as u64).min()?;
    let slope = (w * wxy - wx * wy) / (w * wxx - wx * wx);
    let launch = (wy - slope * wx) / w;
    // Four digits are more than such times have.
    let four = |v: f64| format!("{v:.3e}").parse().unwrap_or(v);
    (slope.is_finite() && slope > 0.0).then(|| Dense {
        launch: four(launch),
        bytes: four(1.0 / slope),
        least,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::tests::sample;

    #[test]
    fn the_line_is_found_and_other_devices_and_wide_products_are_left_out() {
        let row = |m: usize, n: usize, device: &str| Row {
            op: "spmm".to_owned(),
            device: device.to_owned(),
            baseline: "cublas-13".to_owned(),
            baseline_us: Some(if n > 64 { 1e6 } else { 5.0 + 2.0 * m as f64 * 1000.0 / 4e6 }),
            m,
            k: 1000,
            n,
            ..sample()
        };
        let rows = [
            row(1000, 8, "a"),
            row(9000, 16, "a"),
            row(30_000, 64, "a"),
            row(9000, 128, "a"),
            row(77, 8, "b"),
        ];
        assert_eq!(fit(&rows, "a"), Some(Dense { launch: 5.0, bytes: 4e6, least: 1_000_000 }));
        assert_eq!(fit(&rows, "b"), None);
        assert_eq!(fit(&rows, "c"), None);
    }
}
