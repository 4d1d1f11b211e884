//! Least squares of the planner's laws over measured times, and what the choices that follow would cost.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use flash_llm::plan::KernelId;
use flash_llm::plan::model::{Features, Law, Units};
use rayon::prelude::*;

/// One way to run one product, measured.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Names the product: ways of the same one are alternatives.
    pub product: String,
    pub shape: (usize, usize),
    pub features: Features,
    pub us: f64,
}

/// Fewer times do not determine eight coefficients.
const ENOUGH: usize = 12;

const PARAMETERS: usize = 8;

/// A coefficient of zero starts here: the fit works with logarithms.
const LEAST: [f64; PARAMETERS] = [3.0, 0.3, 0.05, 1e-4, 1e-5, 2.0, 0.5, 1.0];

/// Steps of the solver; it has converged long before.
const STEPS: usize = 150;

/// The laws that a fit gave, and those that it left as they were.
pub struct Fitted {
    laws: HashMap<KernelId, (Units, usize, f64)>,
    base: fn(KernelId) -> Law,
}

impl Fitted {
    pub fn law(&self, kernel: KernelId) -> Law {
        self.laws.get(&kernel).map_or_else(|| (self.base)(kernel), |law| Law::Units(law.0))
    }

    /// A smaller error is not always a better choice: kernels with whose last coefficients choices are faster keep them, unless these are
    /// twice as far off, because plans tell the times too.
    fn keep_what_chose_better(&mut self, samples: &[Sample]) {
        let off = |kernel: KernelId, law: Law| {
            let of_kernel = samples.iter().filter(|s| s.features.kernel == kernel);
            errors(of_kernel.map(|s| (law.time(&s.features), s.us)))
        };
        let total = |fitted: &Self| -> f64 { regrets(samples, &|k| fitted.law(k)).iter().sum() };
        let mut kernels: Vec<KernelId> = self.laws.keys().copied().collect();
        kernels.sort_by_key(|kernel| *kernel as usize);
        let mut least = total(self);
        for kernel in kernels {
            if !matches!((self.base)(kernel), Law::Units(_)) {
                continue;
            }
            let Some(law) = self.laws.remove(&kernel) else { continue };
            let near = off(kernel, (self.base)(kernel)) <= 2.0 * off(kernel, Law::Units(law.0));
            let kept = total(self);
            if near && kept < least {
                least = kept;
            } else {
                self.laws.insert(kernel, law);
            }
        }
    }

    /// Least squares weigh the times of ways that differ little like those that decide. One coefficient after the other is changed while
    /// the choices become faster, and a kernel's times are no more than a tenth further off.
    fn choose_better(&mut self, samples: &[Sample]) {
        let mut choices = Choices::new(samples, &|kernel| self.law(kernel));
        let mut kernels: BTreeMap<usize, Own> = BTreeMap::new();
        for (i, s) in samples.iter().enumerate() {
            kernels.entry(s.features.kernel as usize).or_default().samples.push(i);
        }
        kernels.retain(|_, own| own.samples.len() >= ENOUGH);
        for own in kernels.values_mut() {
            own.products = own.samples.iter().map(|&i| choices.product_of[i]).collect();
            own.products.sort_unstable();
            own.products.dedup();
            own.most_off = 1.1 * choices.off(own);
        }
        for _ in 0..ROUNDS {
            for own in kernels.values() {
                let kernel = samples[own.samples[0]].features.kernel;
                let Law::Units(units) = self.law(kernel) else { continue };
                if let Some(better) = choices.improve(units, own) {
                    let error = choices.off(own) / own.samples.len() as f64;
                    self.laws.insert(kernel, (better, own.samples.len(), error));
                }
            }
        }
    }
}

/// What is of one kernel: its samples, the products that they are ways of, and how far off its times may be together.
#[derive(Default)]
struct Own {
    samples: Vec<usize>,
    products: Vec<usize>,
    most_off: f64,
}

/// Samples by product, and what the laws say of each.
struct Choices<'a> {
    samples: &'a [Sample],
    /// By name.
    products: Vec<(&'a str, Vec<usize>)>,
    product_of: Vec<usize>,
    best: Vec<f64>,
    estimates: Vec<f64>,
}

impl<'a> Choices<'a> {
    fn new(samples: &'a [Sample], law: &dyn Fn(KernelId) -> Law) -> Self {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, s) in samples.iter().enumerate() {
            by_name.entry(&s.product).or_default().push(i);
        }
        let products: Vec<(&str, Vec<usize>)> = by_name.into_iter().collect();
        let mut product_of = vec![0; samples.len()];
        for (product, (_, ways)) in products.iter().enumerate() {
            for &i in ways {
                product_of[i] = product;
            }
        }
        let best = products
            .iter()
            .map(|(_, ways)| ways.iter().map(|&i| samples[i].us).fold(f64::INFINITY, f64::min))
            .collect();
        let estimates = samples.iter().map(|s| law(s.features.kernel).time(&s.features)).collect();
        Self { samples, products, product_of, best, estimates }
    }

    /// By how much what is chosen of a product is slower than the best way.
    fn regret(&self, product: usize) -> f64 {
        let by_estimate =
            |&&a: &&usize, &&b: &&usize| self.estimates[a].total_cmp(&self.estimates[b]);
        let chosen = self.products[product].1.iter().min_by(by_estimate);
        chosen.map_or(0.0, |&i| self.samples[i].us / self.best[product] - 1.0)
    }

    /// What choices cost in all products of a kernel.
    fn lost(&self, own: &Own) -> f64 {
        own.products.iter().map(|&product| self.regret(product)).sum()
    }

    /// How far off a kernel's times are together.
    fn off(&self, own: &Own) -> f64 {
        errors(own.samples.iter().map(|&i| (self.estimates[i], self.samples[i].us)))
    }

    /// Takes other times of a kernel; gives those before.
    fn replace(&mut self, own: &Own, times: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let both = own.samples.iter().zip(times);
        both.map(|(&i, time)| std::mem::replace(&mut self.estimates[i], time)).collect()
    }

    /// Better coefficients of a kernel, if there are any, whose times are then its estimates.
    fn improve(&mut self, mut units: Units, own: &Own) -> Option<Units> {
        let samples = self.samples;
        let (mut least, mut better) = (self.lost(own), None);
        for (parameter, factor) in (0..PARAMETERS).flat_map(|p| FACTORS.map(|factor| (p, factor))) {
            let mut logs = to_logs(&units);
            logs[parameter] += factor.ln();
            let changed = rounded(from_logs(&logs));
            let times = own.samples.iter().map(|&i| changed.time(&samples[i].features));
            let before = self.replace(own, times);
            let now = if self.off(own) > own.most_off { f64::INFINITY } else { self.lost(own) };
            if now + WORTH < least {
                (least, units, better) = (now, changed, Some(changed));
            } else {
                self.replace(own, before);
            }
        }
        better
    }
}

/// How far estimated times are off measured ones, together.
fn errors(times: impl Iterator<Item = (f64, f64)>) -> f64 {
    times.map(|(estimated, measured)| (estimated / measured).ln().abs()).sum()
}

/// Of all kernels: what is better of one depends on the others.
const ROUNDS: usize = 3;

/// Changes of one coefficient that [`Fitted::choose_better`] tries.
const FACTORS: [f64; 6] = [0.8, 0.9, 0.96, 1.04, 1.1, 1.25];

/// What a change has to save, of one product's time: less is noise of its measurement.
const WORTH: f64 = 0.01;

/// Fits every kernel that was measured often enough.
pub fn fit(samples: &[Sample], base: fn(KernelId) -> Law) -> Fitted {
    let mut best: BTreeMap<&str, f64> = BTreeMap::new();
    for s in samples {
        let least = best.entry(&s.product).or_insert(f64::INFINITY);
        *least = least.min(s.us);
    }
    let mut by_kernel: HashMap<KernelId, Vec<(Features, f64, f64)>> = HashMap::new();
    for s in samples {
        // What nobody would choose need not be known well; nor do slices of N that share a multiprocessor, which the law has one after
        // the other whether they run at a time or not.
        let chosen = (best.get(s.product.as_str()).copied().unwrap_or(s.us) / s.us).powi(4);
        let weight = if s.features.together > 1 { 0.3 * chosen } else { chosen };
        by_kernel.entry(s.features.kernel).or_default().push((s.features, s.us.ln(), weight));
    }
    by_kernel.retain(|_, measured| measured.len() >= ENOUGH);
    let laws = by_kernel
        .into_par_iter()
        .filter_map(|(kernel, measured)| {
            let from = generic(&measured);
            let known = match base(kernel) {
                Law::Units(units) => units,
                _ => from,
            };
            // Which of bytes and tiles decides is a fork at which a solver may go astray: from both sides, and from elsewhere.
            let starts = [1.0, 0.3, 3.0].into_iter().flat_map(|a| [1.0, 0.6, 1.6].map(|b| (a, b)));
            let starts = starts.map(|(tile, bytes)| Units {
                tile: tile * known.tile,
                bytes: bytes * known.bytes,
                ..known
            });
            let solved = starts.chain([from]).map(|start| rounded(solve(start, &measured)));
            let units =
                solved.min_by(|a, b| squares(a, &measured).total_cmp(&squares(b, &measured)))?;
            let off = measured.iter().map(|(f, log, _)| (units.time(f).ln() - log).abs());
            let error = off.sum::<f64>() / measured.len() as f64;
            Some((kernel, (units, measured.len(), error)))
        })
        .collect();
    let mut fitted = Fitted { laws, base };
    fitted.keep_what_chose_better(samples);
    fitted.choose_better(samples);
    fitted
}

/// The weighted squares of the relative errors.
fn squares(units: &Units, measured: &[(Features, f64, f64)]) -> f64 {
    measured.iter().map(|(f, log, weight)| (weight * (units.time(f).ln() - log)).powi(2)).sum()
}

/// A start for a kernel of which nothing is known: the tiles of a unit take what its median time says.
fn generic(measured: &[(Features, f64, f64)]) -> Units {
    let mut tile: Vec<f64> = measured
        .iter()
        .map(|(f, log, _)| {
            let tiles = f.busiest * u64::from(f.together) * u64::from(f.group_tiles.max(1));
            log.exp() / tiles.max(1) as f64
        })
        .collect();
    tile.sort_by(f64::total_cmp);
    let tile = tile.get(tile.len() / 2).copied().unwrap_or(0.1);
    Units {
        launch: 5.0,
        unit: 0.3,
        tile: 0.6 * tile,
        fill: 1e-3 * tile,
        overflow: 1e-5,
        fix_up: 3.0,
        latency: 1.0,
        bytes: 25_000.0,
    }
}

fn to_logs(u: &Units) -> [f64; PARAMETERS] {
    let values = [u.launch, u.unit, u.tile, u.fill, u.overflow, u.fix_up, u.latency, u.bytes];
    let mut logs = [0.0; PARAMETERS];
    for ((log, value), least) in logs.iter_mut().zip(values).zip(LEAST) {
        *log = (if value > 0.0 { value } else { least }).ln();
    }
    logs
}

fn from_logs(logs: &[f64; PARAMETERS]) -> Units {
    let [launch, unit, tile, fill, overflow, fix_up, latency, bytes] = logs.map(f64::exp);
    Units { launch, unit, tile, fill, overflow, fix_up, latency, bytes }
}

/// Four digits: more say nothing.
fn rounded(u: Units) -> Units {
    let round = |v: f64| format!("{v:.3e}").parse().unwrap_or(v);
    Units {
        launch: round(u.launch),
        unit: round(u.unit),
        tile: round(u.tile),
        fill: round(u.fill),
        overflow: round(u.overflow),
        fix_up: round(u.fix_up),
        latency: round(u.latency),
        bytes: round(u.bytes),
    }
}

/// Levenberg-Marquardt over the logarithms of the coefficients, of the relative errors. What the times do not
/// determine is drawn weakly to where it started.
fn solve(start: Units, measured: &[(Features, f64, f64)]) -> Units {
    let origin = to_logs(&start);
    let residuals = |logs: &[f64; PARAMETERS]| -> Vec<f64> {
        let units = from_logs(logs);
        let times = measured.iter().map(|(f, log, weight)| weight * (units.time(f).ln() - log));
        let pull = 0.02 * (measured.len() as f64).sqrt();
        times.chain(logs.iter().zip(origin).map(|(l, o)| pull * (l - o) * 0.1)).collect()
    };
    let sum = |r: &[f64]| r.iter().map(|v| v * v).sum::<f64>();
    let mut at = origin;
    let mut now = residuals(&at);
    let mut damping = 1e-2;
    for _ in 0..STEPS {
        let mut slopes: Vec<Vec<f64>> = Vec::with_capacity(PARAMETERS);
        for p in 0..PARAMETERS {
            let mut moved = at;
            moved[p] += 1e-4;
            slopes.push(residuals(&moved).iter().zip(&now).map(|(a, b)| (a - b) / 1e-4).collect());
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let mut system = [[0.0; PARAMETERS + 1]; PARAMETERS];
        for (row, slope) in system.iter_mut().zip(&slopes) {
            for (cell, other) in row.iter_mut().zip(&slopes) {
                *cell = dot(slope, other);
            }
            row[PARAMETERS] = -dot(slope, &now);
        }
        for (p, row) in system.iter_mut().enumerate() {
            row[p] += damping * row[p].max(1e-6);
        }
        let step = eliminate(system);
        let mut next = at;
        for (value, delta) in next.iter_mut().zip(step) {
            *value += delta.clamp(-1.0, 1.0);
        }
        let then = residuals(&next);
        if sum(&then) < sum(&now) {
            (at, now) = (next, then);
            damping = (damping * 0.3).max(1e-9);
        } else {
            damping *= 4.0;
        }
    }
    from_logs(&at)
}

/// Gaussian elimination of a positive definite system.
fn eliminate(mut s: [[f64; PARAMETERS + 1]; PARAMETERS]) -> [f64; PARAMETERS] {
    for p in 0..PARAMETERS {
        let pivot = s[p];
        for row in s.iter_mut().skip(p + 1) {
            let factor = row[p] / pivot[p];
            for (cell, above) in row.iter_mut().zip(pivot) {
                *cell -= factor * above;
            }
        }
    }
    let mut solution = [0.0; PARAMETERS];
    for p in (0..PARAMETERS).rev() {
        let known: f64 = (p + 1..PARAMETERS).map(|q| s[p][q] * solution[q]).sum();
        solution[p] = (s[p][PARAMETERS] - known) / s[p][p];
    }
    solution
}

/// For each product, by how much the way that the laws choose is slower than the best that was measured.
pub fn regrets(samples: &[Sample], law: &dyn Fn(KernelId) -> Law) -> Vec<f64> {
    named_regrets(samples, law).into_iter().map(|r| r.1).collect()
}

fn named_regrets<'a>(samples: &'a [Sample], law: &dyn Fn(KernelId) -> Law) -> Vec<(&'a str, f64)> {
    let choices = Choices::new(samples, law);
    choices.products.iter().enumerate().map(|(i, (name, _))| (*name, choices.regret(i))).collect()
}

/// Coefficients with their errors, and what choices cost: with the table that there was, with the new one, and, if `unseen`,
/// with one that was fitted without the shape in question.
pub fn report(
    samples: &[Sample],
    base: fn(KernelId) -> Law,
    fitted: &Fitted,
    unseen: bool,
) -> String {
    let mut out = String::new();
    let mut laws: Vec<_> = fitted.laws.iter().collect();
    laws.sort_by_key(|(kernel, _)| **kernel as usize);
    for (kernel, (units, count, error)) in laws {
        let _ = writeln!(
            out,
            "{kernel:?}: {count} times, mean error {:.1} %, {units:?}",
            100.0 * error
        );
    }
    let mut line = |name: &str, mut regrets: Vec<(&str, f64)>| {
        regrets.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mean = regrets.iter().map(|r| r.1).sum::<f64>() / regrets.len().max(1) as f64;
        let _ = writeln!(out, "slower than the best way, {name}: {:.1} % on average", 100.0 * mean);
        for (product, regret) in regrets.iter().take(4) {
            let _ = writeln!(out, "  {product}: {:.1} %", 100.0 * regret);
        }
    };
    line("table so far", named_regrets(samples, &base));
    line("new table", named_regrets(samples, &|kernel| fitted.law(kernel)));
    let mut shapes: Vec<_> = samples.iter().map(|s| s.shape).collect();
    shapes.sort_unstable();
    shapes.dedup();
    if unseen && shapes.len() > 1 {
        let mut costs = Vec::new();
        for shape in shapes {
            let (held, others): (Vec<Sample>, Vec<Sample>) =
                samples.iter().cloned().partition(|s| s.shape == shape);
            let without = fit(&others, base);
            for (name, regret) in named_regrets(&held, &|kernel| without.law(kernel)) {
                let name = samples.iter().find(|s| s.product == name).map_or("", |s| &s.product);
                costs.push((name, regret));
            }
        }
        line("fitted without the shape", costs);
    }
    out
}

#[cfg(test)]
use flash_llm::plan::DeviceProps;

#[cfg(test)]
#[path = "../../../tests/support/devices.rs"]
mod devices;

#[cfg(test)]
mod tests {
    use super::devices::h100;
    use super::*;
    use flash_llm::plan::{self, BAccess, Problem};
    use flash_llm::types::Format;

    /// Times as a device would give that follows `law` but for 2 % of noise.
    fn synthetic(law: &dyn Fn(KernelId) -> Units, format: Format) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (m, k) in [(28672, 7168), (7168, 7168), (4096, 11008), (4096, 4096)] {
            for max_block in [33, 43, 60, 90] {
                for n in [8, 16] {
                    let b = BAccess::Direct;
                    let problem =
                        Problem { format, m, n, k, block_cols: 256, max_block, uneven: false, b };
                    for way in plan::ways(&problem, &h100()) {
                        let noise = 1.0 + 0.02 * ((samples.len() * 7 % 11) as f64 / 5.0 - 1.0);
                        samples.push(Sample {
                            product: format!("{m}x{k} {n} {max_block}"),
                            shape: (m as usize, k as usize),
                            features: way.features,
                            us: law(way.features.kernel).time(&way.features) * noise,
                        });
                    }
                }
            }
        }
        samples
    }

    #[test]
    fn a_kernel_keeps_coefficients_that_choose_better() {
        let samples = synthetic(&|kernel| h100_units(kernel), Format::Slots);
        let worse = |kernel| {
            let units = h100_units(kernel);
            Units { launch: units.launch * 9.0, fix_up: 0.0, ..units }
        };
        let kernel = KernelId::SlotsN1Sm90;
        let kept = |worst: Units| {
            let laws = HashMap::from([(kernel, (worst, 0, 0.0))]);
            let mut fitted = Fitted { laws, base: h100_law };
            fitted.keep_what_chose_better(&samples);
            fitted.law(kernel)
        };
        assert_eq!(kept(worse(kernel)), h100_law(kernel));
        // What chooses alike is the newer.
        let newer = Units { launch: 1.0, ..h100_units(kernel) };
        assert_eq!(kept(newer), Law::Units(newer));
    }

    #[test]
    fn coefficients_change_where_choices_become_faster_and_nowhere_else() {
        let mut samples = synthetic(&|kernel| h100_units(kernel), Format::Slots);
        let lost = |samples: &[Sample], fitted: &Fitted| -> f64 {
            regrets(samples, &|kernel| fitted.law(kernel)).iter().sum()
        };
        for s in &mut samples {
            s.us = h100_units(s.features.kernel).time(&s.features);
        }
        let mut right = Fitted { laws: HashMap::new(), base: h100_law };
        right.choose_better(&samples);
        assert!(right.laws.is_empty(), "nothing is lost by these: {:?}", right.laws.keys());
        // Parts take twice as long as the law has it.
        for s in &mut samples {
            let units = h100_units(s.features.kernel);
            s.us = Units { fix_up: 2.0 * units.fix_up, ..units }.time(&s.features);
        }
        let mut fitted = Fitted { laws: HashMap::new(), base: h100_law };
        let before = lost(&samples, &fitted);
        fitted.choose_better(&samples);
        let after = lost(&samples, &fitted);
        assert!(before > 0.0 && after < 0.5 * before, "{before} {after}");
    }

    fn h100_law(kernel: KernelId) -> Law {
        (plan::table::of("NVIDIA H100 80GB HBM3").law)(kernel)
    }

    fn h100_units(kernel: KernelId) -> Units {
        match h100_law(kernel) {
            Law::Units(units) => units,
            law => panic!("{kernel:?}: {law:?}"),
        }
    }

    #[test]
    fn a_fit_finds_the_law_that_made_the_times() {
        let truth = Units {
            launch: 6.0,
            unit: 0.8,
            tile: 0.11,
            fill: 0.002,
            overflow: 2e-4,
            fix_up: 5.0,
            latency: 1.3,
            bytes: 22_000.0,
        };
        for format in [Format::Slots, Format::Bitmap] {
            let samples = synthetic(&|_| truth, format);
            let base = flash_llm::plan::table::of("H100").law;
            let fitted = fit(&samples, base);
            assert!(fitted.laws.len() >= 2, "{format:?}");
            for (kernel, (units, count, error)) in &fitted.laws {
                assert!(*count >= ENOUGH && *error < 0.03, "{kernel:?}: {error} {units:?}");
            }
            let worst = regrets(&samples, &|kernel| fitted.law(kernel));
            let worst = worst.into_iter().fold(0.0, f64::max);
            assert!(worst < 0.06, "{format:?}: {worst}");
            let text = report(&samples, base, &fitted, true);
            for words in ["table so far", "new table", "fitted without the shape"] {
                assert!(text.contains(words), "{text}");
            }
        }
    }

    #[test]
    fn a_kernel_that_was_hardly_measured_keeps_its_law() {
        let base = flash_llm::plan::table::of("H100").law;
        let samples = synthetic(&|_| Units { bytes: 1e4, ..Units::default() }, Format::Slots);
        let few: Vec<Sample> = samples.into_iter().take(ENOUGH - 1).collect();
        let fitted = fit(&few, base);
        for &kernel in KernelId::ALL {
            assert_eq!(fitted.law(kernel), base(kernel));
        }
    }
}
