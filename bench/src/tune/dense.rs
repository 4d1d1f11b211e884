//! What dense weights cost: a law through the baselines of earlier benchmarks.

use std::collections::{BTreeMap, BTreeSet};

use flash_llm::plan::model::{Dense, Wide};

use crate::csv::Row;
use crate::stats::Summary;

/// Numbers of columns beyond [`Dense::FEW_COLUMNS`] that have to be measured before anything is said of them.
const ENOUGH: usize = 4;

/// The law with the least relative squared error of the medians of each shape and N that cuBLAS was timed with on the
/// device. `None` without two sizes.
pub fn fit(rows: &[Row], device: &str) -> Option<Dense> {
    let mut times: BTreeMap<(usize, usize, usize), Vec<f64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| {
        row.op == "spmm" && row.device == device && row.baseline.starts_with("cublas")
    }) {
        if let Some(us) = row.baseline_us {
            times.entry((row.m, row.k, row.n)).or_default().push(us);
        }
    }
    let few = |n: usize| n <= Dense::FEW_COLUMNS as usize;
    // Weighted least squares of time over bytes, by 1 / time^2.
    let (mut w, mut wx, mut wy, mut wxx, mut wxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let mut least = u64::MAX;
    for (&(m, k, _), us) in times.iter().filter(|(key, _)| few(key.2)) {
        let y = Summary::of(us)?.median;
        let (x, weight) = (2.0 * m as f64 * k as f64, 1.0 / (y * y));
        w += weight;
        wx += weight * x;
        wy += weight * y;
        wxx += weight * x * x;
        wxy += weight * x * y;
        least = least.min((m * k) as u64);
    }
    let slope = (w * wxy - wx * wy) / (w * wxx - wx * wx);
    let launch = (wy - slope * wx) / w;
    if !slope.is_finite() || slope <= 0.0 {
        return None;
    }
    let line = Dense { launch: four(launch), bytes: four(1.0 / slope), least, wide: None };
    let wide: Vec<((u32, u32, u32), f64)> = times
        .iter()
        .filter(|(key, _)| !few(key.2) && (key.0 * key.1) as u64 >= least)
        .filter_map(|(&(m, k, n), us)| {
            Some(((m as u32, n as u32, k as u32), Summary::of(us)?.median))
        })
        .collect();
    Some(Dense { wide: widened(&line, &wide), ..line })
}

/// The rate of operations with which the law errs least in products of many columns.
fn widened(line: &Dense, times: &[((u32, u32, u32), f64)]) -> Option<Wide> {
    let widths: BTreeSet<u32> = times.iter().map(|(key, _)| key.1).collect();
    let columns = *widths.last().filter(|_| widths.len() >= ENOUGH)?;
    let error = |flops: f64| -> f64 {
        let law = Dense { wide: Some(Wide { columns, flops }), ..*line };
        let off = |&((m, n, k), us): &((u32, u32, u32), f64)| {
            law.time(m, n, k).map_or(0.0, |time| (time / us - 1.0).powi(2))
        };
        times.iter().map(off).sum()
    };
    // From 1 to 10000 TFLOP/s, in steps of a tenth of a percent.
    let rates = (0..9220).map(|i| four(1e6 * (0.001 * f64::from(i)).exp()));
    let flops = rates.min_by(|&a, &b| error(a).total_cmp(&error(b)))?;
    Some(Wide { columns, flops })
}

/// Four digits are more than such times have.
fn four(v: f64) -> f64 {
    format!("{v:.3e}").parse().unwrap_or(v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::tests::sample;

    #[test]
    fn the_line_is_found_and_other_devices_and_a_few_wide_products_are_left_out() {
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
        assert_eq!(
            fit(&rows, "a"),
            Some(Dense { launch: 5.0, bytes: 4e6, least: 1_000_000, wide: None })
        );
        assert_eq!(fit(&rows, "b"), None);
        assert_eq!(fit(&rows, "c"), None);
    }

    #[test]
    fn the_rate_of_operations_is_found_where_enough_widths_were_measured() {
        let wide = Some(Wide { columns: 512, flops: 8e8 });
        let truth = Dense { launch: 6.0, bytes: 4e6, least: 16_000_000, wide };
        let mut rows = Vec::new();
        for (m, k) in [(4000, 4000), (20_000, 10_000)] {
            for n in [8, 64, 96, 192, 256, 512] {
                rows.push(Row {
                    op: "spmm".to_owned(),
                    device: "a".to_owned(),
                    baseline: "cublas-13".to_owned(),
                    baseline_us: truth.time(m, n, k),
                    m: m as usize,
                    k: k as usize,
                    n: n as usize,
                    ..sample()
                });
            }
        }
        let found = fit(&rows, "a").unwrap();
        let Some(Wide { columns: 512, flops }) = found.wide else { panic!("{found:?}") };
        assert!((flops / 8e8 - 1.0).abs() < 0.002, "{flops}");
        assert_eq!(Dense { wide, ..found }, truth);
    }
}
