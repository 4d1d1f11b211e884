//! What a sweep has to say in the end: the worst ratios, and every goal that was missed.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::csv::Row;

/// From these zeros on, at least so many times cuBLAS.
const RATIOS: [(f64, f64); 3] = [(0.8, 1.7), (0.6, 1.2), (0.5, 1.0)];

/// Time at N, of that at the next larger measured N, at most.
const STEP: f64 = 1.05;

/// Time with uneven rows, of that with even ones, at most.
const UNEVEN: f64 = 1.15;

/// What a ratio at this sparsity has to be.
fn goal(sparsity: f64) -> Option<f64> {
    // A sparsity of 0.7999999 is 80 %.
    RATIOS.iter().find(|(from, _)| sparsity >= from - 1e-6).map(|(_, ratio)| *ratio)
}

/// Goal and ratio of a product that misses it.
pub fn missed(row: &Row) -> Option<(f64, f64)> {
    goal(row.sparsity).zip(row.ratio()).filter(|(goal, ratio)| ratio < goal)
}

/// Whether the zeros are not those of the usual mask: its tag follows a space.
fn is_masked(row: &Row) -> bool {
    row.kernel.contains(' ')
}

fn per_mille(row: &Row) -> u32 {
    (row.sparsity * 1000.0).round() as u32
}

/// Shape, zeros, format and mask, for a line.
fn place(row: &Row) -> String {
    let mask = if is_masked(row) { format!(" ({})", row.kernel) } else { String::new() };
    format!("{}x{} {:.0} % {}{mask}", row.m, row.k, 100.0 * row.sparsity, row.format)
}

/// The text that a sweep ends with.
pub fn of(rows: &[Row]) -> String {
    let mut out = String::new();
    worst(rows, &mut out);
    list(&mut out, "below the goal", &too_slow(rows));
    list(&mut out, &format!("more than {STEP} times the next larger N"), &cliffs(rows));
    if rows.iter().any(is_masked) {
        uneven(rows, &mut out);
    }
    out
}

fn list(out: &mut String, what: &str, found: &[String]) {
    let _ = writeln!(out, "\n{what}: {}", found.len());
    for line in found {
        let _ = writeln!(out, "  {line}");
    }
}

/// By zeros: least, geometric mean and greatest ratio of the even matrices.
fn worst(rows: &[Row], out: &mut String) {
    let mut groups: BTreeMap<u32, Vec<(f64, &Row)>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !is_masked(row)) {
        if let Some(ratio) = row.ratio() {
            groups.entry(per_mille(row)).or_default().push((ratio, row));
        }
    }
    for group in groups.values() {
        let by_ratio = |a: &&(f64, &Row), b: &&(f64, &Row)| a.0.total_cmp(&b.0);
        let (Some(least), Some(most)) =
            (group.iter().min_by(by_ratio), group.iter().max_by(by_ratio))
        else {
            continue;
        };
        let mean = (group.iter().map(|g| g.0.ln()).sum::<f64>() / group.len() as f64).exp();
        let _ = writeln!(
            out,
            "{:.0} % zeros: {:.2} to {:.2} times cuBLAS, mean {mean:.2}; least at {} N={} ({:.1} us, cuBLAS {:.1})",
            100.0 * least.1.sparsity,
            least.0,
            most.0,
            place(least.1),
            least.1.n,
            least.1.us,
            least.1.baseline_us.unwrap_or(0.0)
        );
    }
}

fn too_slow(rows: &[Row]) -> Vec<String> {
    let mut found: Vec<(f64, String)> = Vec::new();
    for row in rows.iter().filter(|row| !is_masked(row)) {
        if let Some((goal, ratio)) = missed(row) {
            let line =
                format!("{} N={}: {ratio:.2}, goal {goal} ({:.1} us)", place(row), row.n, row.us);
            found.push((ratio / goal, line));
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().map(|f| f.1).collect()
}

fn cliffs(rows: &[Row]) -> Vec<String> {
    let mut lines: BTreeMap<_, BTreeMap<usize, &Row>> = BTreeMap::new();
    for row in rows {
        let key = (row.m, row.k, per_mille(row), row.format.clone(), row.kernel.clone());
        lines.entry(key).or_default().insert(row.n, row);
    }
    let mut found = Vec::new();
    for line in lines.values() {
        for (a, b) in line.values().zip(line.values().skip(1)) {
            if a.us > STEP * b.us {
                found.push(format!(
                    "{}: {:.1} us at N={}, {:.1} at {} ({:.2})",
                    place(a),
                    a.us,
                    a.n,
                    b.us,
                    b.n,
                    a.us / b.us
                ));
            }
        }
    }
    found
}

/// Uneven matrices beside the even one of the same density.
fn uneven(rows: &[Row], out: &mut String) {
    let key = |row: &Row| (row.m, row.k, row.n, per_mille(row), row.format.clone());
    let even: BTreeMap<_, &Row> =
        rows.iter().filter(|row| !is_masked(row)).map(|row| (key(row), row)).collect();
    let mut found = Vec::new();
    let mut most: Option<(f64, String)> = None;
    for row in rows.iter().filter(|row| is_masked(row)) {
        let Some(other) = even.get(&key(row)) else { continue };
        let ratio = row.us / other.us;
        let line = format!(
            "{} N={}: {ratio:.3} ({:.1} us, even {:.1})",
            place(row),
            row.n,
            row.us,
            other.us
        );
        if ratio > UNEVEN {
            found.push(line.clone());
        }
        if most.as_ref().is_none_or(|m| ratio > m.0) {
            most = Some((ratio, line));
        }
    }
    if let Some((_, line)) = most {
        let _ = writeln!(out, "\nuneven rows cost most at {line}");
    }
    list(out, &format!("uneven rows cost more than {UNEVEN}"), &found);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::tests::sample;

    #[test]
    fn goals_hold_from_their_sparsity_on() {
        let goals = [0.4, 0.5, 0.6, 0.7, 0.8, 0.95].map(goal);
        assert_eq!(goals, [None, Some(1.0), Some(1.2), Some(1.2), Some(1.7), Some(1.7)]);
        assert_eq!(goal(1.0 - 0.2), Some(1.7));
    }

    #[test]
    fn what_misses_its_goal_is_listed_worst_first() {
        let slow = Row { us: 100.0, ..sample() };
        let slower = Row { us: 120.0, n: 17, ..sample() };
        let text = of(&[slow, slower, sample()]);
        assert!(text.contains("80 % zeros: 1.33 to 2.00 times cuBLAS"), "{text}");
        assert!(text.contains("below the goal: 2\n  28672x7168 80 % bitmap N=17"), "{text}");
    }

    #[test]
    fn a_step_down_in_time_is_found_between_neighbours_alone() {
        let row = |n, us| Row { n, us, ..sample() };
        let text = of(&[row(32, 80.0), row(24, 85.0), row(16, 81.0), row(1, 82.0)]);
        assert!(text.contains("next larger N: 1\n"), "{text}");
        assert!(text.contains("85.0 us at N=24, 80.0 at 32 (1.06)"), "{text}");
    }

    #[test]
    fn uneven_rows_are_compared_with_even_ones_and_judged_by_that_alone() {
        let rows = |us| Row { us, kernel: "sweep uneven-rows".into(), ..sample() };
        let text = of(&[sample(), rows(100.0)]);
        assert!(text.contains("below the goal: 0"), "{text}");
        assert!(text.contains("cost more than 1.15: 1"), "{text}");
        assert!(of(&[sample(), rows(84.0)]).contains("cost most at 28672x7168"), "{text}");
        assert!(!of(&[sample()]).contains("uneven"));
    }
}
