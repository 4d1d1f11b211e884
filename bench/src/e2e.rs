//! The tables and plots of docs/end-to-end.md, from what `python -m flash_llm.engine.bench` wrote to bench/results/e2e.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// One configuration that was measured, or that did not fit.
#[derive(Clone, Debug)]
struct Run {
    date: String,
    place: Place,
    weights: Weights,
    batch: usize,
    /// Only some steps in the middle were timed, without prompts.
    sampled: bool,
    /// Absent where the model or the batch did not fit.
    measured: Option<Measured>,
}

#[derive(Clone, Debug)]
struct Measured {
    tokens_per_gpu_s: f64,
    ms_p50: f64,
    ms_p99: f64,
    prefill_ms: Option<f64>,
    peak_bytes: Option<f64>,
    matrix_bytes: f64,
    build_s: f64,
}

/// What shares a table: a model on a kind and number of devices. Families and sizes ascend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    family: String,
    tenths_of_billions: u32,
    device: String,
    gpus: usize,
    model: String,
    dtype: String,
}

/// Dense comes first, then by per cent of zeros and format.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weights {
    Dense,
    Zeros(u32, String),
}

/// A kernel in the profile of a decode step.
#[derive(Clone, Debug)]
struct Part {
    place: Place,
    weights: Weights,
    batch: usize,
    part: String,
    kernel: String,
    us: f64,
}

/// All rows of a directory.
#[derive(Debug, Default)]
pub struct E2e {
    runs: Vec<Run>,
    parts: Vec<Part>,
}

impl Place {
    fn new(model: &str, device: &str, gpus: usize, dtype: &str) -> Self {
        let digits: String =
            model.chars().filter(|c| c.is_ascii_digit() || *c == '.' || *c == '-').collect();
        let billions = digits.rsplit('-').next().and_then(|n| n.parse::<f64>().ok());
        Self {
            family: model.split('-').next().unwrap_or_default().to_owned(),
            tenths_of_billions: (billions.unwrap_or(0.0) * 10.0).round() as u32,
            device: device.to_owned(),
            gpus,
            model: model.to_owned(),
            dtype: dtype.to_owned(),
        }
    }

    fn title(&self) -> String {
        format!("{}, {} x {}", self.model, self.gpus, self.device)
    }

    /// Name of its plot.
    fn file(&self) -> String {
        let device = self.device.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        format!("e2e-{}-{}x-{device}.svg", self.model, self.gpus)
    }
}

impl Weights {
    fn new(format: &str, sparsity: &str) -> Result<Self, String> {
        if sparsity.is_empty() {
            return Ok(Self::Dense);
        }
        let fraction: f64 = sparsity.parse().map_err(|_| format!("sparsity: '{sparsity}'"))?;
        Ok(Self::Zeros((fraction * 100.0).round() as u32, format.to_owned()))
    }

    fn label(&self) -> String {
        match self {
            Self::Dense => "dense".to_owned(),
            Self::Zeros(percent, format) => format!("{percent} %, {format}"),
        }
    }
}

/// Fields of a line by the names in the file's first line.
struct Fields<'a> {
    columns: &'a [&'a str],
    values: Vec<&'a str>,
}

impl<'a> Fields<'a> {
    fn text(&self, name: &str) -> Result<&'a str, String> {
        let at = self.columns.iter().position(|c| *c == name);
        at.map(|at| self.values[at]).ok_or_else(|| format!("there is no column {name}"))
    }

    fn optional(&self, name: &str) -> Result<Option<f64>, String> {
        let text = self.text(name)?;
        if text.is_empty() {
            return Ok(None);
        }
        let value = text.parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0);
        value.map(Some).ok_or_else(|| format!("{name}: '{text}'"))
    }

    fn number(&self, name: &str) -> Result<f64, String> {
        self.optional(name)?.ok_or_else(|| format!("{name} is empty"))
    }

    fn place(&self) -> Result<Place, String> {
        Ok(Place::new(
            self.text("model")?,
            self.text("device")?,
            self.number("gpus")? as usize,
            self.text("dtype").unwrap_or_default(),
        ))
    }

    fn weights(&self) -> Result<Weights, String> {
        Weights::new(self.text("format")?, self.text("sparsity")?)
    }

    fn run(&self) -> Result<Run, String> {
        let measured = match self.optional("tokens_per_gpu_s")? {
            None => None,
            Some(tokens_per_gpu_s) => Some(Measured {
                tokens_per_gpu_s,
                ms_p50: self.number("ms_p50")?,
                ms_p99: self.number("ms_p99")?,
                prefill_ms: self.optional("prefill_ms")?,
                peak_bytes: self.optional("peak_bytes")?,
                matrix_bytes: self.number("bytes")?,
                build_s: self.number("build_s")?,
            }),
        };
        Ok(Run {
            date: self.text("date")?.to_owned(),
            place: self.place()?,
            weights: self.weights()?,
            batch: self.number("batch")? as usize,
            sampled: self.text("prompt")?.is_empty(),
            measured,
        })
    }

    fn part(&self) -> Result<Part, String> {
        Ok(Part {
            place: self.place()?,
            weights: self.weights()?,
            batch: self.number("batch")? as usize,
            part: self.text("part")?.to_owned(),
            kernel: self.text("kernel")?.to_owned(),
            us: self.number("us")?,
        })
    }
}

/// Calls `each` with the fields of every line but the first.
fn lines(text: &str, mut each: impl FnMut(&Fields) -> Result<(), String>) -> Result<(), String> {
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    for (index, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let values: Vec<&str> = line.split(',').collect();
        let at = |e: String| format!("line {}: {e}", index + 2);
        if values.len() != columns.len() {
            return Err(at(format!("{} fields, expected {}", values.len(), columns.len())));
        }
        each(&Fields { columns: &columns, values }).map_err(at)?;
    }
    Ok(())
}

impl E2e {
    /// Reads the files of a directory; none is no rows.
    pub fn load(dir: &Path) -> Result<Self, String> {
        let mut all = Self::default();
        let Ok(entries) = std::fs::read_dir(dir) else {
            return Ok(all);
        };
        let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        paths.retain(|p| p.extension().is_some_and(|e| e == "csv"));
        paths.sort();
        for path in paths {
            let text =
                std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let profile = path.to_string_lossy().ends_with("-profile.csv");
            all.add(&text, profile).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        // By date; rows of one day stay in the order in which they were written.
        all.runs.sort_by(|a, b| a.date.cmp(&b.date));
        Ok(all)
    }

    pub fn rows(&self) -> usize {
        self.runs.len()
    }

    fn add(&mut self, text: &str, profile: bool) -> Result<(), String> {
        lines(text, |fields| {
            // Models that were cut down for trying things are no results.
            if fields.text("model")?.contains('(') {
                return Ok(());
            }
            if profile {
                self.parts.push(fields.part()?);
            } else {
                self.runs.push(fields.run()?);
            }
            Ok(())
        })
    }

    /// Of each configuration the newest row, one of a whole run before one of some steps, numbers before none.
    fn best(&self) -> BTreeMap<&Place, BTreeMap<&Weights, BTreeMap<usize, &Run>>> {
        let rank = |run: &Run| (run.measured.is_some(), !run.sampled);
        let mut found: BTreeMap<_, BTreeMap<_, BTreeMap<usize, &Run>>> = BTreeMap::new();
        for run in &self.runs {
            let cells = found.entry(&run.place).or_default().entry(&run.weights).or_default();
            let cell = cells.entry(run.batch).or_insert(run);
            if rank(run) >= rank(cell) {
                *cell = run;
            }
        }
        found
    }

    /// Tokens per GPU-second, a table and a plot for each place.
    pub fn tables(&self) -> String {
        let mut out = String::new();
        for (place, series) in self.best() {
            let batches: BTreeSet<usize> =
                series.values().flat_map(|s| s.keys().copied()).collect();
            let heads: Vec<String> = batches.iter().map(|b| format!("batch {b}")).collect();
            let _ = writeln!(out, "**{}** ({})\n", place.title(), place.dtype);
            let _ = writeln!(
                out,
                "| weights | {} | best |\n|---|{}---|",
                heads.join(" | "),
                "---|".repeat(heads.len())
            );
            let dense = series.get(&Weights::Dense);
            let rate = |run: &Run| run.measured.as_ref().map(|m| m.tokens_per_gpu_s);
            let top = |cells: &BTreeMap<usize, &Run>| {
                let rates = cells.iter().filter_map(|(batch, run)| Some((rate(run)?, *batch)));
                rates.max_by(|a, b| a.0.total_cmp(&b.0))
            };
            let times = |ours: f64, base: Option<f64>, weights: &Weights| match base {
                Some(base) if *weights != Weights::Dense => format!(" ({:.2}x)", ours / base),
                _ => String::new(),
            };
            for (weights, cells) in &series {
                let cell = |batch: &usize| {
                    let Some(run) = cells.get(batch) else { return String::new() };
                    let Some(ours) = rate(run) else { return "does not fit".to_owned() };
                    let base = dense.and_then(|d| d.get(batch)).and_then(|run| rate(run));
                    let star = if run.sampled { "\\*" } else { "" };
                    format!("{ours:.0}{}{star}", times(ours, base, weights))
                };
                let best = top(cells).map_or(String::new(), |(ours, batch)| {
                    let base = dense.and_then(top).map(|(base, _)| base);
                    format!("{ours:.0}{} at {batch}", times(ours, base, weights))
                });
                let row: Vec<String> = batches.iter().map(cell).collect();
                let _ = writeln!(out, "| {} | {} | {best} |", weights.label(), row.join(" | "));
            }
            if plot(place, &series).is_some() {
                let _ = writeln!(out, "\n![{}](plots/{})", place.title(), place.file());
            }
            out.push('\n');
        }
        out
    }

    /// Milliseconds, bytes and seconds of the same rows.
    pub fn details(&self) -> String {
        let mut out = String::new();
        for (place, series) in self.best() {
            let _ = writeln!(
                out,
                "**{}**\n\n| weights | batch | ms a token, p50 | p99 | prefill ms | peak GB | matrices GB | set-up s |\n\
                 |---|---|---|---|---|---|---|---|",
                place.title()
            );
            for (weights, cells) in series {
                for (batch, run) in cells {
                    let Some(m) = &run.measured else { continue };
                    let optional = |value: Option<f64>| {
                        value.map_or("-".to_owned(), |value| format!("{value:.1}"))
                    };
                    let _ = writeln!(
                        out,
                        "| {} | {batch}{} | {:.2} | {:.2} | {} | {} | {:.1} | {:.1} |",
                        weights.label(),
                        if run.sampled { "\\*" } else { "" },
                        m.ms_p50,
                        m.ms_p99,
                        optional(m.prefill_ms),
                        optional(m.peak_bytes.map(|b| b * 1e-9)),
                        m.matrix_bytes * 1e-9,
                        m.build_s
                    );
                }
            }
            out.push('\n');
        }
        out
    }

    /// Where a decode step's time goes: the last profile of each configuration.
    pub fn profiles(&self) -> String {
        let mut found: BTreeMap<_, BTreeMap<_, Vec<&Part>>> = BTreeMap::new();
        for part in &self.parts {
            let kernels = found
                .entry((&part.place, part.batch))
                .or_default()
                .entry(&part.weights)
                .or_default();
            // Each kernel is in a profile once: its second coming starts another profile.
            if kernels.iter().any(|k| k.part == part.part && k.kernel == part.kernel) {
                kernels.clear();
            }
            kernels.push(part);
        }
        let mut out = String::new();
        for ((place, batch), series) in found {
            let mut sums: BTreeMap<&str, BTreeMap<&Weights, f64>> = BTreeMap::new();
            let mut whole: BTreeMap<&Weights, f64> = BTreeMap::new();
            for (weights, kernels) in &series {
                for kernel in kernels {
                    *sums.entry(&kernel.part).or_default().entry(weights).or_default() += kernel.us;
                    *whole.entry(weights).or_default() += kernel.us;
                }
            }
            let heads: Vec<String> = whole.keys().map(|w| w.label()).collect();
            let _ = writeln!(
                out,
                "**{}, batch {batch}**, microseconds of a step\n\n| | {} |\n|---|{}",
                place.title(),
                heads.join(" | "),
                "---|".repeat(heads.len())
            );
            let mut order: Vec<_> = sums.into_iter().collect();
            order.sort_by_key(|(_, by)| Reverse(by.values().sum::<f64>().round() as u64));
            for (part, by) in order {
                let cells: Vec<String> = whole
                    .iter()
                    .map(|(weights, all)| match by.get(weights) {
                        Some(us) => format!("{us:.0} ({:.0} %)", 100.0 * us / all.max(1e-9)),
                        None => "-".to_owned(),
                    })
                    .collect();
                let _ = writeln!(out, "| {part} | {} |", cells.join(" | "));
            }
            let all: Vec<String> = whole.values().map(|us| format!("{us:.0}")).collect();
            let _ = writeln!(out, "| together | {} |\n", all.join(" | "));
        }
        out
    }

    /// (file name, SVG) of each place with at least two batches.
    pub fn plots(&self) -> Vec<(String, String)> {
        let best = self.best();
        best.iter().filter_map(|(place, s)| Some((place.file(), plot(place, s)?))).collect()
    }
}

const COLORS: [&str; 10] = [
    "#444444", "#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2",
    "#bcbd22", "#17becf",
];

/// Tokens per GPU-second over the batch, a line for each kind of weights.
fn plot(place: &Place, series: &BTreeMap<&Weights, BTreeMap<usize, &Run>>) -> Option<String> {
    let lines: Vec<(String, Vec<(usize, f64)>)> = series
        .iter()
        .map(|(weights, cells)| {
            let rate = |run: &Run| run.measured.as_ref().map(|m| m.tokens_per_gpu_s);
            let points = cells.iter().filter_map(|(batch, run)| Some((*batch, rate(run)?)));
            (weights.label(), points.collect())
        })
        .collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let batches: BTreeSet<usize> = all().map(|(batch, _)| *batch).collect();
    let highest = all().map(|(_, rate)| *rate).fold(0.0, f64::max);
    if batches.len() < 2 || highest <= 0.0 {
        return None;
    }
    let decade = 10f64.powf(highest.log10().floor());
    let tick = [0.2, 0.5, 1.0, 2.0].map(|t| t * decade).into_iter().find(|t| highest / t <= 6.0)?;
    let ceiling = (highest / tick).ceil() * tick;
    let (left, right, top, bottom) = (64.0, 520.0, 36.0, 300.0);
    let (first, last) = (*batches.first()? as f64, *batches.last()? as f64);
    let x = |batch: usize| {
        left + 20.0 + (right - left - 40.0) * (batch as f64 / first).log2() / (last / first).log2()
    };
    let y = |rate: f64| bottom - (bottom - top) * rate / ceiling;
    let mut out = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 660 350\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"660\" height=\"350\" fill=\"white\"/>\n",
    );
    let _ = writeln!(out, "<text x=\"{left}\" y=\"20\" font-size=\"14\">{}</text>", place.title());
    for step in 0..=(ceiling / tick).round() as u32 {
        let value = f64::from(step) * tick;
        let at = y(value);
        let _ = writeln!(
            out,
            "<line x1=\"{left}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            left - 6.0,
            at + 4.0
        );
    }
    for batch in &batches {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{batch}</text>",
            x(*batch),
            bottom + 18.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">batch; tokens per GPU-second</text>",
        (left + right) / 2.0,
        bottom + 38.0
    );
    for (index, (label, points)) in lines.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let path: Vec<String> = points
            .iter()
            .map(|(batch, rate)| format!("{:.1},{:.1}", x(*batch), y(*rate)))
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (batch, rate) in points {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{color}\"/>",
                x(*batch),
                y(*rate)
            );
        }
        let row = top + 10.0 + 20.0 * index as f64;
        let _ = writeln!(
            out,
            "<line x1=\"534\" y1=\"{row}\" x2=\"554\" y2=\"{row}\" stroke=\"{color}\" stroke-width=\"2\"/>\
             <text x=\"560\" y=\"{}\">{label}</text>",
            row + 4.0
        );
    }
    out += "</svg>\n";
    Some(out)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    const HEAD: &str = "date,device,model,format,dtype,sparsity,gpus,batch,prompt,tokens_per_gpu_s,ms_p50,ms_p99,\
                        prefill_ms,peak_bytes,bytes,build_s,note";

    pub fn rows() -> E2e {
        let mut all = E2e::default();
        let text = format!(
            "{HEAD}\n\
             2026-01-02,H1,opt-30b,dense,f16,,1,8,64,400,20,21,30,70e9,59e9,2.5,\n\
             2026-01-02,H1,opt-30b,dense,f16,,1,16,64,,,,,,59e9,2.5,out of memory running\n\
             2026-01-02,H1,opt-30b,dense,f16,,1,16,,700,22,23,,70e9,59e9,2.5,\n\
             2026-01-02,H1,opt-30b,slots,f16,0.7998,1,8,64,900,9,10,40,30e9,18e9,3.5,\n\
             2026-01-02,H1,opt-30b,slots,f16,0.7998,1,8,,1,9,10,,30e9,18e9,3.5,\n\
             2026-01-02,H1,opt-30b,slots,f16,0.7998,1,16,64,1400,11,12,45,40e9,18e9,3.5,\n\
             2026-01-02,H1,opt-30b (4 layers),slots,f16,0.7998,1,32,64,9999,1,1,1,1,1,1,\n\
             2026-01-02,H1,opt-1.3b,dense,f16,,1,8,64,4000,2,2,3,7e9,5e9,0.5,\n"
        );
        all.add(&text, false).unwrap();
        let profile = "date,device,model,format,sparsity,gpus,batch,part,kernel,us\n\
                       d,H1,opt-30b,dense,,1,8,dense product,nvjet,1\n\
                       d,H1,opt-30b,dense,,1,8,dense product,nvjet,15000\n\
                       d,H1,opt-30b,dense,,1,8,attention,_decode,5000\n\
                       d,H1,opt-30b,slots,0.8,1,8,attention,_decode,5000\n";
        all.add(profile, true).unwrap();
        all
    }

    #[test]
    fn a_table_compares_at_equal_and_at_best_batch() {
        let text = rows().tables();
        assert!(text.contains("| weights | batch 8 | batch 16 | best |"), "{text}");
        assert!(text.contains("| dense | 400 | 700\\* | 700 at 16 |"), "{text}");
        assert!(
            text.contains("| 80 %, slots | 900 (2.25x) | 1400 (2.00x) | 1400 (2.00x) at 16 |"),
            "{text}"
        );
        assert!(text.find("opt-1.3b").unwrap() < text.find("opt-30b").unwrap(), "by size");
        assert!(!text.contains("9999"), "a model with fewer layers is no result");
        assert!(
            rows()
                .details()
                .contains("| 80 %, slots | 16 | 11.00 | 12.00 | 45.0 | 40.0 | 18.0 | 3.5 |")
        );
    }

    #[test]
    fn what_does_not_fit_says_so() {
        let mut all = E2e::default();
        let text = format!("{HEAD}\nd,H1,opt-66b,dense,f16,,1,8,,,,,,,,9.0,out of memory\n");
        all.add(&text, false).unwrap();
        assert!(all.tables().contains("| dense | does not fit |  |"), "{}", all.tables());
        assert!(all.plots().is_empty());
    }

    #[test]
    fn the_last_profile_counts() {
        let text = rows().profiles();
        assert!(text.contains("| | dense | 80 %, slots |"), "{text}");
        assert!(text.contains("| dense product | 15000 (75 %) | - |"), "{text}");
        assert!(text.contains("| together | 20000 | 5000 |"), "{text}");
    }

    #[test]
    fn a_plot_has_a_line_for_each_kind_of_weights() {
        let all = rows();
        let plots = all.plots();
        assert_eq!(plots.len(), 1, "one batch makes no line");
        let (name, svg) = &plots[0];
        assert_eq!(name, "e2e-opt-30b-1x-h1.svg");
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(all.tables().contains("(plots/e2e-opt-30b-1x-h1.svg)"));
    }

    #[test]
    fn broken_rows_name_the_line_and_the_column() {
        let mut all = E2e::default();
        let text = format!("{HEAD}\nd,H1,opt-66b,dense,f16,,1,many,,,,,,,,9.0,x\n");
        assert_eq!(all.add(&text, false).unwrap_err(), "line 2: batch: 'many'");
        assert!(all.add("model\nopt,2\n", false).unwrap_err().contains("2 fields, expected 1"));
        assert!(all.add("model\nopt\n", false).unwrap_err().contains("no column"));
    }
}
