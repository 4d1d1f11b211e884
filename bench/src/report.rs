//! `report`: the number tables of README.md, docs/measurements.md and docs/end-to-end.md, generated from the recorded rows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::args::Args;
use crate::csv::{self, Row};
use crate::e2e::E2e;
use crate::{env, plot, summary};

pub const HELP: &str = "\
report: rewrites the tables between <!-- bench:NAME:begin --> and <!-- bench:NAME:end -->
  --results DIR     the recorded rows; those of whole models are in DIR/e2e [bench/results]
  --readme FILE     a file with markers                                     [README.md]
  --shapes FILE     another one                                             [docs/measurements.md]
  --models FILE     another one; all plots go to plots/ beside it           [docs/end-to-end.md]
  --check           change nothing; fail if a file is not up to date
names: spmm-gpu, spmm-shapes, spmm-plot, spmm-layers, spmm-host, codec; e2e, e2e-details, e2e-profile";

/// What a marked place that has no rows says.
const NOTHING: &str = "_No measurements are recorded yet._\n";

/// The shape that is plotted, and has a table in README.md.
const PLOTTED: (usize, usize) = (28672, 7168);

/// Where README.md finds the plots.
const PLOTS: &str = "docs/plots";

pub fn run(arguments: &[String]) -> Result<(), String> {
    let args = Args::parse(arguments, &["results", "readme", "shapes", "models"], &["check"])?;
    let results = Path::new(args.text("results", "bench/results"));
    let rows = load(results)?;
    let models = E2e::load(&results.join("e2e"))?;
    let models_page = args.text("models", "docs/end-to-end.md");
    let pages = [
        args.text("readme", "README.md"),
        args.text("shapes", "docs/measurements.md"),
        models_page,
    ];
    let pictures = pictures(&rows)?;
    let mut files = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(page).map_err(|e| format!("{page}: {e}"))?;
        files.push((PathBuf::from(page), update(&text, &rows, &pictures, &models)?));
    }
    let plots = Path::new(models_page).with_file_name("plots");
    files.extend(pictures.into_iter().map(|p| (plots.join(p.file), p.svg)));
    files.extend(models.plots().into_iter().map(|(name, svg)| (plots.join(name), svg)));
    for (path, wanted) in files {
        let name = path.display();
        if std::fs::read_to_string(&path).is_ok_and(|text| text == wanted) {
            continue;
        }
        if args.flag("check") {
            return Err(format!("{name} is not what the rows say"));
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| format!("{name}: {e}"))?;
        }
        std::fs::write(&path, wanted).map_err(|e| format!("{name}: {e}"))?;
    }
    println!("{}: tables from {} and {} rows", pages.join(", "), rows.len(), models.rows());
    Ok(())
}

/// A picture, and what it shows in words.
struct Picture {
    file: String,
    words: String,
    svg: String,
}

/// The order of devices: those that were measured last come first, as their rows are of the newest kernels.
type Place = (Reverse<String>, String);

/// Where a row's device comes.
fn places(rows: &[Row]) -> impl Fn(&Row) -> Place + use<> {
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for row in rows {
        let date = last.entry(row.device.clone()).or_default();
        *date = date.clone().max(row.date.clone());
    }
    move |row| (Reverse(last.get(&row.device).cloned().unwrap_or_default()), row.device.clone())
}

/// A picture for each device on which the plotted shape was measured.
fn pictures(rows: &[Row]) -> Result<Vec<Picture>, String> {
    let place = places(rows);
    let mut devices: BTreeMap<Place, Vec<&Row>> = BTreeMap::new();
    let found = newest(rows.iter().filter(|r| is_headline(r) && (r.m, r.k) == PLOTTED), |r| {
        (r.device.clone(), r.n, r.format.clone(), per_mille(r.sparsity))
    });
    for row in found.into_values() {
        // The N for which there is a goal; 24 and 48 are in the table.
        if [1, 8, 16, 32, 64].contains(&row.n) {
            devices.entry(place(row)).or_default().push(row);
        }
    }
    let mut pictures = Vec::new();
    for ((_, device), rows) in devices {
        let (m, k) = PLOTTED;
        let words = format!("Times cuBLAS, {m} x {k} fp16, L2 cold, {device}");
        if let Some(svg) = plot::draw(&words, &rows)? {
            let file = format!("spmm-{}.svg", env::slug(&device));
            pictures.push(Picture { file, words, svg });
        }
    }
    Ok(pictures)
}

pub fn load(dir: &Path) -> Result<Vec<Row>, String> {
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
fn update(text: &str, rows: &[Row], pictures: &[Picture], models: &E2e) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<!-- bench:") {
        let (name, after) =
            after.split_once(":begin -->").ok_or("a marker is not <!-- bench:NAME:begin -->")?;
        let end = format!("<!-- bench:{name}:end -->");
        let (_, after) = after.split_once(&end).ok_or_else(|| format!("{end} is missing"))?;
        let table = match name {
            "spmm-gpu" => spmm_gpu(rows, |shape| shape == PLOTTED),
            "spmm-shapes" => spmm_gpu(rows, |shape| shape != PLOTTED),
            "spmm-plot" => pictures
                .iter()
                .map(|picture| format!("![{}]({PLOTS}/{})\n", picture.words, picture.file))
                .collect(),
            "spmm-layers" => spmm_layers(rows),
            "spmm-host" => spmm_host(rows),
            "codec" => codec(rows),
            "e2e" => models.tables(),
            "e2e-details" => models.details(),
            "e2e-profile" => models.profiles(),
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

/// Whether a row is one of the careful comparisons with cuBLAS.
fn is_headline(row: &Row) -> bool {
    row.op == "spmm"
        && row.baseline.starts_with("cublas")
        && row.kernel == "default"
        && row.dtype == "f16"
}

/// One table for each device of its sweep: a line a shape, and the least and greatest ratio over all N, each in the format
/// that is fastest for it. A careful comparison of a product supersedes what the sweep before it found.
fn spmm_layers(rows: &[Row]) -> String {
    let is_swept = |r: &&Row| r.op == "spmm" && r.kernel == "sweep" && r.baseline_us.is_some();
    let place = places(rows);
    let product = |r: &Row| (place(r), (r.m * r.k, r.m, r.k), per_mille(r.sparsity), r.n);
    let swept: BTreeSet<_> = rows.iter().filter(is_swept).map(product).collect();
    let found = newest(rows.iter().filter(|r| is_swept(r) || is_headline(r)), |r| {
        (product(r), r.format.clone())
    });
    let mut fastest: BTreeMap<_, &Row> = BTreeMap::new();
    for ((of, _), row) in found.into_iter().filter(|((of, _), _)| swept.contains(of)) {
        let (device, shape, sparsity, n) = of;
        let best = fastest.entry((device, shape, sparsity, n)).or_insert(row);
        if row.ratio() > best.ratio() {
            *best = row;
        }
    }
    let mut devices: BTreeMap<_, BTreeMap<_, BTreeMap<u32, Vec<&Row>>>> = BTreeMap::new();
    for ((device, shape, sparsity, _), row) in fastest {
        let line = devices.entry(device).or_default().entry(shape).or_default();
        line.entry(sparsity).or_default().push(row);
    }
    let mut out = String::new();
    for ((_, device), lines) in devices {
        let columns: BTreeSet<u32> = lines.values().flat_map(|line| line.keys().copied()).collect();
        let all = || lines.values().flat_map(|line| line.values().flatten());
        let sources: BTreeSet<String> =
            all().map(|r| format!("{}, driver {}, {}", r.baseline, r.driver, r.date)).collect();
        let tokens: BTreeSet<String> =
            all().map(|r| r.n).collect::<BTreeSet<_>>().iter().map(usize::to_string).collect();
        let least = all().map(|r| r.n).min().unwrap_or(0);
        let most = all().map(|r| r.n).max().unwrap_or(0);
        let _ = writeln!(
            out,
            "**{device}**, times cuBLAS, least to greatest of {} N from {least} to {most}; {}\n",
            tokens.len(),
            sources.into_iter().collect::<Vec<_>>().join("; ")
        );
        let heads: Vec<String> = columns.iter().map(|&c| percent(c)).collect();
        let _ =
            writeln!(out, "| M x K | {} |\n|---|{}", heads.join(" | "), "---|".repeat(heads.len()));
        for ((_, m, k), line) in &lines {
            let cell = |column: &u32| {
                let ratios = line.get(column).into_iter().flatten().filter_map(|r| r.ratio());
                let (least, most) =
                    ratios.fold((f64::INFINITY, 0.0), |(a, b), r| (f64::min(a, r), f64::max(b, r)));
                if most > 0.0 { format!("{least:.2} to {most:.2}") } else { "-".to_owned() }
            };
            let cells: Vec<String> = columns.iter().map(cell).collect();
            let _ = writeln!(out, "| {m} x {k} | {} |", cells.join(" | "));
        }
        out.push('\n');
        let mut missed: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for row in all().filter(|row| summary::missed(row).is_some()) {
            *missed.entry((row.m, row.k)).or_default() += 1;
        }
        let most = missed.iter().max_by_key(|(_, count)| **count);
        let where_most =
            most.map_or(String::new(), |((m, k), count)| format!(", {count} of them of {m} x {k}"));
        let _ = writeln!(
            out,
            "{} of these {} products miss the goals{where_most}.\n",
            missed.values().sum::<usize>(),
            all().count()
        );
    }
    out
}

/// One table for each device and shape that is wanted: ratio to cuBLAS and microseconds, sparsities across.
fn spmm_gpu(rows: &[Row], wanted: fn((usize, usize)) -> bool) -> String {
    let place = places(rows);
    let found = newest(rows.iter().filter(|r| is_headline(r) && wanted((r.m, r.k))), |r| {
        (place(r), Reverse(r.m * r.k), r.m, r.k, r.n, r.format.clone(), per_mille(r.sparsity))
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
    for (((_, device), _, m, k), lines) in groups {
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

    fn updated(text: &str, rows: &[Row]) -> Result<String, String> {
        update(text, rows, &pictures(rows)?, &E2e::default())
    }

    const PAGE: &str = "before\n<!-- bench:spmm-gpu:begin -->\nold\n<!-- bench:spmm-gpu:end -->\nmiddle\n\
                        <!-- bench:codec:begin --><!-- bench:codec:end -->\nafter\n";

    #[test]
    fn without_rows_the_tables_say_so_and_the_text_around_them_stays() {
        let page = updated(PAGE, &[]).unwrap();
        assert_eq!(page.matches(NOTHING).count(), 2);
        assert!(
            page.starts_with("before\n")
                && page.ends_with("after\n")
                && page.contains("\nmiddle\n")
        );
        assert!(!page.contains("old"));
        assert_eq!(updated(&page, &[]).unwrap(), page);
    }

    #[test]
    fn the_newest_row_wins_and_missing_cells_are_dashes() {
        let old = Row { us: 160.0, ..sample() };
        let other = Row { n: 8, sparsity: 0.5, ..sample() };
        let page = updated(PAGE, &[old, sample(), other]).unwrap();
        assert!(page.contains("| N | format | 50 % | 80 % |"), "{page}");
        assert!(page.contains("| 16 | bitmap | - | 2.00 (80.0) |"), "{page}");
        assert!(page.contains("| 8 | bitmap | 2.00 (80.0) | - |"), "{page}");
        assert_eq!(updated(&page, &[sample()]).unwrap().matches("1.00").count(), 0);
    }

    #[test]
    fn shapes_that_are_not_plotted_have_a_page_of_their_own() {
        let page = PAGE.replace("spmm-gpu", "spmm-shapes");
        let other = Row { m: 4096, ..sample() };
        let text = updated(&page, &[sample(), other.clone()]).unwrap();
        assert!(text.contains("4096 x 7168**") && !text.contains("28672 x 7168**"), "{text}");
        assert!(updated(PAGE, &[other]).unwrap().contains(NOTHING));
    }

    #[test]
    fn the_pages_are_what_the_rows_say() {
        let at = |path: &str| format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
        let (results, readme) = (at("bench/results"), at("README.md"));
        let (shapes, models) = (at("docs/measurements.md"), at("docs/end-to-end.md"));
        let arguments = [
            ("--results", results),
            ("--readme", readme),
            ("--shapes", shapes),
            ("--models", models),
        ];
        let arguments = arguments.into_iter().flat_map(|(name, path)| [name.to_owned(), path]);
        run(&arguments.chain(["--check".to_owned()]).collect::<Vec<_>>()).unwrap();
    }

    #[test]
    fn uneven_rows_stay_out_of_the_headline_table() {
        let row = Row { kernel: "default uneven".into(), ..sample() };
        assert!(updated(PAGE, &[row]).unwrap().contains(NOTHING));
    }

    #[test]
    fn a_sweep_is_a_line_a_shape_and_a_plot_a_device() {
        let page = "<!-- bench:spmm-layers:begin --><!-- bench:spmm-layers:end -->\n\
                    <!-- bench:spmm-plot:begin --><!-- bench:spmm-plot:end -->";
        let swept = |n, us| Row { n, us, kernel: "sweep".into(), ..sample() };
        let other = Row { sparsity: 0.9, ..sample() };
        let slower = Row { format: "slots".into(), ..swept(64, 200.0) };
        let rows = [swept(1, 80.0), swept(64, 100.0), slower, sample(), other];
        let text = updated(page, &rows).unwrap();
        assert!(text.contains("| 28672 x 7168 | 1.60 to 2.00 |"), "{text}");
        assert!(text.contains("of 2 N from 1 to 64"), "{text}");
        assert!(
            text.contains("1 of these 2 products miss the goals, 1 of them of 28672 x 7168."),
            "{text}"
        );
        assert!(text.contains("](docs/plots/spmm-nvidia-h100-80gb-hbm3.svg)"), "{text}");
        let careful = Row { kernel: "default".into(), ..swept(64, 50.0) };
        let rows = [swept(1, 80.0), swept(64, 100.0), careful];
        let text = updated(page, &rows).unwrap();
        assert!(text.contains("| 28672 x 7168 | 2.00 to 3.20 |"), "{text}");
        assert_eq!(updated(page, &[]).unwrap().matches(NOTHING).count(), 2);
    }

    #[test]
    fn devices_that_were_measured_last_come_first() {
        let old = Row { device: "A".into(), date: "2026-01-31".into(), ..sample() };
        let new = Row { device: "B".into(), date: "2026-02-01".into(), ..sample() };
        let page = updated(PAGE, &[old, new]).unwrap();
        assert!(page.find("**B, 28672").unwrap() < page.find("**A, 28672").unwrap(), "{page}");
    }

    #[test]
    fn codec_rows_pair_up() {
        let encode = Row { op: "encode".into(), kernel: "host".into(), gbps: 3.5, ..sample() };
        let decode = Row { op: "decode".into(), gbps: 7.25, ..encode.clone() };
        let page = updated(PAGE, &[encode, decode]).unwrap();
        assert!(page.contains("| 3.50 | 7.25 |"), "{page}");
    }

    #[test]
    fn broken_markers_are_errors() {
        assert!(updated("<!-- bench:spmm-gpu:begin -->", &[]).is_err());
        assert!(updated("<!-- bench:bogus:begin --><!-- bench:bogus:end -->", &[]).is_err());
    }

    #[test]
    fn tables_of_models_have_names_of_their_own() {
        let page = "<!-- bench:e2e:begin --><!-- bench:e2e:end --><!-- bench:e2e-details:begin -->\
                    <!-- bench:e2e-details:end --><!-- bench:e2e-profile:begin --><!-- bench:e2e-profile:end -->";
        let text = update(page, &[], &[], &crate::e2e::tests::rows()).unwrap();
        assert!(text.contains("2.25x") && text.contains("prefill ms") && text.contains("together"));
        assert_eq!(updated(page, &[]).unwrap().matches(NOTHING).count(), 3);
    }
}
