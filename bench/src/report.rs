//! `report`: the number tables of README.md, generated from the recorded rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use crate::args::Args;
use crate::csv::{self, Row};

pub const HELP: &str = "\
report: rewrites the tables between <!-- bench:NAME:begin --> and <!-- bench:NAME:end -->
  --results DIR     the recorded rows                                       [bench/results]
  --readme FILE     the file with the markers                               [README.md]
  --check           change nothing; fail if the file is not up to date
names: spmm-gpu, spmm-host, codec";

/// What a marked place that has no rows says.
const NOTHING: &str = "_No measurements are recorded yet._\n";

pub fn run(arguments: &[String]) -> Result<(), String> {
    let args = Args::parse(arguments, &["results", "readme"], &["check"])?;
    let readme = args.text("readme", "README.md");
    let rows = load(Path::new(args.text("results", "bench/results")))?;
    let text = std::fs::read_to_string(readme).map_err(|e| format!("{readme}: {e}"))?;
    let updated = update(&text, &rows)?;
    if args.flag("check") {
        return if text == updated {
            Ok(())
        } else {
            Err(format!("{readme} is not what the rows say"))
        };
    }
    if text != updated {
        std::fs::write(readme, updated).map_err(|e| format!("{readme}: {e}"))?;
    }
    println!("{readme}: tables from {} rows", rows.len());
    Ok(())
}

fn load(dir: &Path) -> Result<Vec<Row>, String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "csv"));
    paths.sort();
    let mut rows = Vec::new();
    for path in paths {
        let name = path.display();
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{name}: {e}"))?;
        rows.extend(csv::parse(&text).map_err(|e| format!("{name}: {e}"))?);
    }
    // By date; rows of one day stay in the order in which they were written.
    rows.sort_by(|a, b| a.date.cmp(&b.date));
    Ok(rows)
}

/// Replaces what is between each pair of markers.
fn update(text: &str, rows: &[Row]) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<!-- bench:") {
        let (name, after) =
            after.split_once(":begin -->").ok_or("a marker is not <!-- bench:NAME:begin -->")?;
        let end = format!("<!-- bench:{name}:end -->");
        let (_, after) = after.split_once(&end).ok_or_else(|| format!("{end} is missing"))?;
        let table = match name {
            "spmm-gpu" => spmm_gpu(rows),
            "spmm-host" => spmm_host(rows),
            "codec" => codec(rows),
            other => return Err(format!("there is no table called {other}")),
        };
        let table = if table.is_empty() { NOTHING.to_owned() } else { table };
        let _ = write!(out, "{before}<!-- bench:{name}:begin -->\n{table}{end}");
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// The newest row of each configuration, in a stable order.
fn newest<'a, K: Ord>(
    rows: impl Iterator<Item = &'a Row>,
    key: impl Fn(&Row) -> K,
) -> BTreeMap<K, &'a Row> {
    rows.map(|row| (key(row), row)).collect()
}

fn per_mille(sparsity: f64) -> u32 {
    (sparsity * 1000.0).round() as u32
}

fn percent(per_mille: u32) -> String {
    if per_mille % 10 == 0 {
        format!("{} %", per_mille / 10)
    } else {
        format!("{:.1} %", f64::from(per_mille) / 10.0)
    }
}

/// One table for each device and shape: ratio to cuBLAS and microseconds, sparsities across.
fn spmm_gpu(rows: &[Row]) -> String {
    let is_gpu = |r: &&Row| {
        r.op == "spmm" && r.baseline.starts_with("cublas") && !r.kernel.contains("uneven")
    };
    let found = newest(rows.iter().filter(is_gpu), |r| {
        (
            r.device.clone(),
            std::cmp::Reverse(r.m * r.k),
            r.m,
            r.k,
            r.n,
            r.format.clone(),
            per_mille(r.sparsity),
        )
    });
    let mut groups: BTreeMap<_, BTreeMap<_, BTreeMap<u32, &Row>>> = BTreeMap::new();
    for ((device, size, m, k, n, format, sparsity), row) in found {
        groups
            .entry((device, size, m, k))
            .or_default()
            .entry((n, format))
            .or_default()
            .insert(sparsity, row);
    }
    let mut out = String::new();
    for ((device, _, m, k), lines) in groups {
        let columns: BTreeSet<u32> = lines.values().flat_map(|line| line.keys().copied()).collect();
        let all = lines.values().flat_map(BTreeMap::values);
        let sources: BTreeSet<String> =
            all.map(|r| format!("{}, driver {}, {}", r.baseline, r.driver, r.date)).collect();
        let sources = sources.into_iter().collect::<Vec<_>>().join("; ");
        let _ = writeln!(out, "**{device}, {m} x {k}**, times cuBLAS (microseconds); {sources}\n");
        let heads: Vec<String> = columns.iter().map(|&c| percent(c)).collect();
        let _ = writeln!(
            out,
            "| N | format | {} |\n|---|---|{}",
            heads.join(" | "),
            "---|".repeat(heads.len())
        );
        for ((n, format), line) in lines {
            let cell = |column: &u32| {
                line.get(column)
                    .and_then(|r| Some(format!("{:.2} ({:.1})", r.ratio()?, r.us)))
                    .unwrap_or("-".into())
            };
            let cells: Vec<String> = columns.iter().map(cell).collect();
            let _ = writeln!(out, "| {n} | {format} | {} |", cells.join(" | "));
        }
        out.push('\n');
    }
    out
}

fn spmm_host(rows: &[Row]) -> String {
    let found = newest(
        rows.iter().filter(|r| r.op == "spmm" && r.baseline == "triple-loop" && r.kernel == "host"),
        |r| (r.device.clone(), r.m, r.k, r.n, per_mille(r.sparsity), r.format.clone()),
    );
    let mut out = String::new();
    if !found.is_empty() {
        out += "| CPU | shape | N | zeros | format | ms | x triple loop |\n|---|---|---|---|---|---|---|\n";
    }
    for ((device, m, k, n, sparsity, format), row) in found {
        let ratio = row.ratio().map_or("-".to_owned(), |r| format!("{r:.1}"));
        let _ = writeln!(
            out,
            "| {device} | {m} x {k} | {n} | {} | {format} | {:.2} | {ratio} |",
            percent(sparsity),
            row.us * 1e-3
        );
    }
    out
}

fn codec(rows: &[Row]) -> String {
    let is_codec = |r: &&Row| (r.op == "encode" || r.op == "decode") && r.kernel == "host";
    let found = newest(rows.iter().filter(is_codec), |r| {
        (r.device.clone(), r.m, r.k, per_mille(r.sparsity), r.format.clone(), r.op == "decode")
    });
    let mut lines: BTreeMap<_, [Option<&Row>; 2]> = BTreeMap::new();
    for ((device, m, k, sparsity, format, decode), row) in found {
        lines.entry((device, m, k, sparsity, format)).or_default()[usize::from(decode)] = Some(row);
    }
    let mut out = String::new();
    if !lines.is_empty() {
        out += "| CPU | shape | zeros | format | size, of dense | encode GB/s | decode GB/s |\n\
                |---|---|---|---|---|---|---|\n";
    }
    for ((device, m, k, sparsity, format), pair) in lines {
        let speed = |row: Option<&Row>| row.map_or("-".to_owned(), |r| format!("{:.2}", r.gbps));
        let size = pair
            .iter()
            .flatten()
            .next()
            .map_or(0.0, |r| 50.0 * r.bytes as f64 / (r.m * r.k) as f64);
        let _ = writeln!(
            out,
            "| {device} | {m} x {k} | {} | {format} | {size:.1} % | {} | {} |",
            percent(sparsity),
            speed(pair[0]),
            speed(pair[1])
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::tests::sample;

    const PAGE: &str = "before\n<!-- bench:spmm-gpu:begin -->\nold\n<!-- bench:spmm-gpu:end -->\nmiddle\n\
                        <!-- bench:codec:begin --><!-- bench:codec:end -->\nafter\n";

    #[test]
    fn without_rows_the_tables_say_so_and_the_text_around_them_stays() {
        let page = update(PAGE, &[]).unwrap();
        assert_eq!(page.matches(NOTHING).count(), 2);
        assert!(
            page.starts_with("before\n")
                && page.ends_with("after\n")
                && page.contains("\nmiddle\n")
        );
        assert!(!page.contains("old"));
        assert_eq!(update(&page, &[]).unwrap(), page);
    }

    #[test]
    fn the_newest_row_wins_and_missing_cells_are_dashes() {
        let old = Row { us: 160.0, ..sample() };
        let other = Row { n: 8, sparsity: 0.5, ..sample() };
        let page = update(PAGE, &[old, sample(), other]).unwrap();
        assert!(page.contains("| N | format | 50 % | 80 % |"), "{page}");
        assert!(page.contains("| 16 | bitmap | - | 2.00 (80.0) |"), "{page}");
        assert!(page.contains("| 8 | bitmap | 2.00 (80.0) | - |"), "{page}");
        assert_eq!(update(&page, &[sample()]).unwrap().matches("1.00").count(), 0);
    }

    #[test]
    fn uneven_rows_stay_out_of_the_headline_table() {
        let row = Row { kernel: "default uneven".into(), ..sample() };
        assert!(update(PAGE, &[row]).unwrap().contains(NOTHING));
    }

    #[test]
    fn codec_rows_pair_up() {
        let encode = Row { op: "encode".into(), kernel: "host".into(), gbps: 3.5, ..sample() };
        let decode = Row { op: "decode".into(), gbps: 7.25, ..encode.clone() };
        let page = update(PAGE, &[encode, decode]).unwrap();
        assert!(page.contains("| 3.50 | 7.25 |"), "{page}");
    }

    #[test]
    fn broken_markers_are_errors() {
        assert!(update("<!-- bench:spmm-gpu:begin -->", &[]).is_err());
        assert!(update("<!-- bench:bogus:begin --><!-- bench:bogus:end -->", &[]).is_err());
    }
}
