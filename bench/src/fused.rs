//! `fused`: plans with bias, activation, residual and gate, and bfloat16, beside the plain fp16 product.

use std::ffi::c_int;
use std::path::Path;

use half::{bf16, f16};

use crate::api::{self, Buffer, DnMat, Handle, SpMat};
use crate::args::{Args, format_name};
use crate::csv::{self, Row};
use crate::data::{self, OracleRow};
use crate::driver::{Driver, Memory};
use crate::env;
use crate::gpu::{self, Gpu};
use crate::planned::{ACTIVATION, BIAS, GATE, Plan, RESIDUAL};
use crate::shapes;
use crate::stats::Summary;

pub const HELP: &str = "\
fused: what follows a product (bias, activation, residual, gate), and bfloat16, beside the plain product
  --shapes LIST     as for spmm                                       [28672x7168]
  --n LIST          tokens                                            [16]
  --sparsity LIST   per cents                                         [80]
  --format LIST     banked, bitmap, sell, slots, tiled-csl, auto  [bitmap,slots,banked,tiled-csl]
  --iters N         timed launches of each                            [200]
  --out FILE        CSV to append to        [bench/results/<device>-<date>.csv]
  --commit NAME, --seed N";

const R_16BF: c_int = 14;

/// What one row measures.
#[derive(Clone, Copy)]
struct Variant {
    /// In the column `kernel`.
    name: &'static str,
    bf16: bool,
    bias: bool,
    activation: c_int,
    residual: bool,
    gate: bool,
}

const PLAIN: Variant = Variant {
    name: "plain",
    bf16: false,
    bias: false,
    activation: 0,
    residual: false,
    gate: false,
};

/// The first is what the others are compared with.
const VARIANTS: [Variant; 9] = [
    PLAIN,
    Variant { bf16: true, ..PLAIN },
    Variant { name: "bias", bias: true, ..PLAIN },
    Variant { name: "bias relu", bias: true, activation: 1, ..PLAIN },
    Variant { name: "bias gelu-tanh", bias: true, activation: 2, ..PLAIN },
    Variant { name: "bias gelu-erf", bias: true, activation: 3, ..PLAIN },
    Variant { name: "bias residual", bias: true, residual: true, ..PLAIN },
    Variant { name: "silu", activation: 4, ..PLAIN },
    Variant { name: "silu-gate", activation: 4, gate: true, ..PLAIN },
];

impl Variant {
    /// What follows the product `x`, whose gate has the same weights.
    fn follow(&self, x: f64, bias: f64, residual: f64) -> f64 {
        let x = if self.bias { x + bias } else { x };
        let active = match self.activation {
            1 => x.max(0.0),
            2 => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            }
            3 => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
            4 => x / (1.0 + (-x).exp()),
            _ => x,
        };
        let gated = if self.gate { active * x } else { active };
        if self.residual { gated + residual } else { gated }
    }
}

/// The error function to 1.5e-7 (Abramowitz and Stegun 7.1.26).
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let sum = series.iter().fold(0.0, |sum, c| (sum + c) * t);
    (1.0 - sum * (-x * x).exp()).copysign(x)
}

/// The operands of one element type.
struct Operands<'d> {
    weights: Vec<(SpMat, Buffer<'d>)>,
    bytes: usize,
    b: DnMat,
    c: DnMat,
    output: Memory<'d>,
    bias: Memory<'d>,
    residual: DnMat,
    _memory: [Memory<'d>; 2],
}

/// Host data of one shape and number of columns.
struct Host {
    m: usize,
    k: usize,
    n: usize,
    weights: Vec<u16>,
    b: Vec<u16>,
    bias: Vec<u16>,
    residual: Vec<u16>,
}

fn widen(bits: u16, is_bf16: bool) -> f64 {
    if is_bf16 { bf16::from_bits(bits).to_f64() } else { f16::from_bits(bits).to_f64() }
}

fn narrow(values: &[u16], is_bf16: bool) -> Vec<u16> {
    let convert = |&bits: &u16| bf16::from_f32(f16::from_bits(bits).to_f32()).to_bits();
    if is_bf16 { values.iter().map(convert).collect() } else { values.to_vec() }
}

struct Session<'d> {
    gpu: &'d Gpu<'d>,
    iters: usize,
}

impl<'d> Session<'d> {
    fn operands(
        &self,
        on_host: &Handle,
        host: &Host,
        format: c_int,
        is_bf16: bool,
    ) -> Result<Operands<'d>, String> {
        let (m, k, n) = (host.m, host.k, host.n);
        let dtype = if is_bf16 { R_16BF } else { api::R_16F };
        let text = |e: api::Failure| format!("{m}x{k}: {e}");
        let mut weights = narrow(&host.weights, is_bf16);
        let dense = DnMat::new(m, k, k, weights.as_mut_ptr().cast(), dtype, api::ORDER_ROW)
            .map_err(text)?;
        let sparse = SpMat::with_type(m, k, format, dtype).map_err(text)?;
        let scratch = sparse.compress_scratch_bytes(on_host, &dense).map_err(text)?;
        let scratch = on_host.alloc(scratch).map_err(text)?;
        sparse.analyse(on_host, &dense, &scratch).map_err(text)?;
        let bytes = sparse.size().map_err(text)?.bytes;
        let compressed = on_host.alloc(bytes).map_err(text)?;
        sparse.set_buffer(on_host, &compressed).map_err(text)?;
        sparse.convert(on_host, &dense, &scratch).map_err(text)?;
        let content: Vec<u8> = compressed.read(0, bytes).map_err(text)?;
        let resolved = sparse.format().map_err(text)?;
        let mut copies = Vec::new();
        // As spmm's: at least twice the L2 passes between two reads of one.
        for _ in 0..gpu::copies(self.gpu.l2_bytes, bytes) {
            let buffer = self.gpu.handle.upload(&content).map_err(text)?;
            let copy = SpMat::with_type(m, k, resolved, dtype).map_err(text)?;
            copy.set_buffer(&self.gpu.handle, &buffer).map_err(text)?;
            copies.push((copy, buffer));
        }
        let memory = |values: &[u16]| -> Result<Memory<'d>, String> {
            let memory = self.gpu.driver.alloc(2 * values.len())?;
            memory.write(&narrow(values, is_bf16))?;
            Ok(memory)
        };
        let (b, residual) = (memory(&host.b)?, memory(&host.residual)?);
        let output = self.gpu.driver.alloc(2 * m * n)?;
        let descr = |memory: &Memory<'_>, rows: usize| {
            DnMat::new(rows, n, rows, memory.pointer(), dtype, api::ORDER_COL).map_err(text)
        };
        Ok(Operands {
            weights: copies,
            bytes,
            b: descr(&b, k)?,
            c: descr(&output, m)?,
            output,
            bias: memory(&host.bias)?,
            residual: descr(&residual, m)?,
            _memory: [b, residual],
        })
    }

    /// (median and percentiles, workspace and all) of every variant and, last, of two plain products.
    fn measure(
        &self,
        host: &Host,
        oracle: &[OracleRow],
        types: &[Operands<'_>; 2],
    ) -> Result<Vec<Summary>, String> {
        let text = |e: api::Failure| format!("{}x{} n={}: {e}", host.m, host.k, host.n);
        let mut plans = Vec::new();
        let mut room = 0;
        for variant in VARIANTS {
            let on = &types[usize::from(variant.bf16)];
            let (a, _) = on.weights.first().ok_or("no copies of the weights")?;
            let plan = Plan::new(&self.gpu.handle, a, &on.b, &on.c).map_err(text)?;
            if variant.bias {
                plan.set(BIAS, on.bias.pointer()).map_err(text)?;
            }
            plan.set(ACTIVATION, variant.activation).map_err(text)?;
            if variant.residual {
                plan.set(RESIDUAL, on.residual.raw()).map_err(text)?;
            }
            if variant.gate {
                plan.set(GATE, a.raw()).map_err(text)?;
            }
            room = room.max(plan.workspace_bytes().map_err(text)?);
            plans.push(plan);
        }
        let workspace = self.gpu.driver.alloc(room.max(1))?;
        let run = |index: usize, i: usize| -> Result<(), String> {
            let (variant, plan) = (VARIANTS[index], &plans[index]);
            let on = &types[usize::from(variant.bf16)];
            let copy = |i: usize| &on.weights[i % on.weights.len()].0;
            if variant.gate {
                // Another copy, so that the cache has neither.
                plan.set(GATE, copy(i + 1).raw()).map_err(text)?;
            }
            plan.execute(copy(i), &on.b, &on.c, workspace.pointer()).map_err(text)
        };
        let mut samples = vec![Vec::new(); VARIANTS.len() + 1];
        for round in 0..ROUNDS {
            let offset = round * self.iters.div_ceil(ROUNDS);
            for (index, samples) in samples.iter_mut().take(VARIANTS.len()).enumerate() {
                self.gpu.time(self.iters.div_ceil(ROUNDS), offset, samples, &|i| run(index, i))?;
            }
            let twice = |i: usize| run(0, i).and_then(|()| run(0, i + 1));
            self.gpu.time(
                self.iters.div_ceil(ROUNDS),
                offset,
                &mut samples[VARIANTS.len()],
                &twice,
            )?;
        }
        for (index, variant) in VARIANTS.iter().enumerate() {
            let on = &types[usize::from(variant.bf16)];
            on.output.fill(0xff, self.gpu.stream)?;
            run(index, index)?;
            self.gpu.stream.synchronize()?;
            check(host, oracle, variant, &on.output.read(host.m * host.n)?)?;
        }
        samples
            .iter()
            .map(|s| Summary::of(s).ok_or_else(|| "nothing was timed".to_owned()))
            .collect()
    }
}

/// Compares sampled rows with the product in double and what follows it.
fn check(host: &Host, oracle: &[OracleRow], variant: &Variant, got: &[u16]) -> Result<(), String> {
    // One rounding of the result; of bf16 also those of the operands.
    let (unit, operands) =
        if variant.bf16 { (1.0 / 256.0, 1.0 / 128.0) } else { (1.0 / 2048.0, 0.0) };
    let bits =
        |values: &[u16], at: usize| widen(narrow(&values[at..=at], variant.bf16)[0], variant.bf16);
    for row in oracle {
        for (column, (&x, &scale)) in row.product.iter().zip(&row.scale).enumerate() {
            let at = column * host.m + row.row;
            let (bias, residual) = (bits(&host.bias, row.row), bits(&host.residual, at));
            let want = variant.follow(x, bias, residual);
            let sums = (2.0 * (host.k as f64 + 1.0) / (1u64 << 24) as f64 + operands) * scale;
            // Activations have slopes below 1.2; the gated one is about a square.
            let slope = if variant.gate { 1.2 + 2.2 * x.abs() } else { 1.2 };
            let allowed = slope * sums + unit * want.abs() + 1e-5;
            let value = widen(got[at], variant.bf16);
            let error = (value - want).abs();
            if error.is_nan() || error > allowed {
                return Err(format!(
                    "WRONG: {} n={}: C({}, {column}) is {value}, {want} within {allowed} is right",
                    variant.name, host.n, row.row
                ));
            }
        }
    }
    Ok(())
}

/// Rounds in which the variants take turns, so that all see the same clocks.
const ROUNDS: usize = 5;
/// Rows that are checked.
const ORACLE_ROWS: usize = 64;

pub fn run(arguments: &[String]) -> Result<(), String> {
    let valued = ["shapes", "n", "sparsity", "format", "iters", "out", "commit", "seed"];
    let args = Args::parse(arguments, &valued, &[])?;
    let layers = shapes::select(args.text("shapes", "28672x7168"))?;
    let tokens = args.numbers("n", "16")?;
    let sparsities = args.sparsities("80")?;
    let formats = args.formats("bitmap,slots,banked,tiled-csl")?;
    let seed = args.number("seed", 1)? as u64;

    let driver = Driver::load()?;
    let stream = driver.stream()?;
    let gpu = Gpu::new(&driver, &stream)?;
    let on_host = Handle::host().map_err(|e| e.to_string())?;
    let default_out = format!("bench/results/{}-{}.csv", env::slug(&gpu.device), env::today());
    let out = args.text("out", &default_out);
    let session = Session { gpu: &gpu, iters: args.number("iters", 200)? };

    println!("{}; library: {}", gpu.device, gpu.build);
    println!(
        "\n{:<18} {:>13} {:>5} {:>6} {:<9} {:<5} {:<16} {:>8} {:>15} {:<10} {:>8} {:>7}",
        "layer",
        "shape",
        "n",
        "zeros",
        "format",
        "type",
        "kernel",
        "us",
        "p5..p95",
        "baseline",
        "us",
        "ratio"
    );
    for layer in &layers {
        let (m, k) = (layer.m, layer.k);
        for (&sparsity, &n) in sparsities.iter().flat_map(|s| tokens.iter().map(move |n| (s, n))) {
            let host = Host {
                m,
                k,
                n,
                weights: data::pruned_weights(m, k, sparsity, data::Mask::Uniform, seed),
                b: data::activations(k * n, n as u64 + 77),
                bias: data::activations(m, 5),
                residual: data::activations(m * n, 6),
            };
            let oracle = data::oracle(&host.weights, &host.b, m, k, n, ORACLE_ROWS);
            for &format in &formats {
                let types = [
                    session.operands(&on_host, &host, format, false)?,
                    session.operands(&on_host, &host, format, true)?,
                ];
                let times = session.measure(&host, &oracle, &types)?;
                let (first, _) = types[0].weights.first().ok_or("no copies of the weights")?;
                let name = format_name(first.format().map_err(|e| e.to_string())?);
                let mut rows = Vec::new();
                for (variant, us) in VARIANTS.iter().zip(&times) {
                    let (baseline, against) = match (variant.gate, variant.name, variant.bf16) {
                        (true, _, _) => ("two-plain", times.last()),
                        (_, "plain", false) => ("none", None),
                        _ => ("plain-f16", times.first()),
                    };
                    let bytes = types[usize::from(variant.bf16)].bytes;
                    let moved = if variant.gate { 2 * bytes } else { bytes };
                    let row = Row {
                        format: name.to_owned(),
                        dtype: if variant.bf16 { "bf16" } else { "f16" }.to_owned(),
                        m,
                        k,
                        n,
                        sparsity,
                        us: us.median,
                        us_p5: us.p5,
                        us_p95: us.p95,
                        baseline: baseline.to_owned(),
                        baseline_us: against.map(|a| a.median),
                        bytes,
                        gbps: moved as f64 / us.median * 1e-3,
                        kernel: variant.name.to_owned(),
                        ..gpu.row("fused", args.text("commit", env::COMMIT))?
                    };
                    let optional = |v: Option<f64>, digits: usize| {
                        v.map_or("-".to_owned(), |v| format!("{v:.digits$}"))
                    };
                    println!(
                        "{:<18.18} {:>13} {n:>5} {:>4.0} % {name:<9} {:<5} {:<16} {:>8.1} {:>7.1}..{:<6.1} {baseline:<10} {:>8} {:>7}",
                        layer.name,
                        format!("{m}x{k}"),
                        100.0 * sparsity,
                        row.dtype,
                        variant.name,
                        row.us,
                        row.us_p5,
                        row.us_p95,
                        optional(row.baseline_us, 1),
                        optional(row.ratio(), 3)
                    );
                    rows.push(row);
                }
                csv::append(Path::new(out), &rows)?;
            }
        }
    }
    println!("\nrows appended to {out}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_product_is_what_the_library_documents() {
        assert!((erf(0.5) - 0.520_499_88).abs() < 2e-7);
        assert!((erf(-2.0) + 0.995_322_27).abs() < 2e-7);
        let by = |name: &str| *VARIANTS.iter().find(|v| v.name == name).unwrap();
        assert_eq!(by("bias relu").follow(-3.0, 1.0, 9.0), 0.0);
        assert_eq!(by("bias residual").follow(-3.0, 1.0, 9.0), 7.0);
        let silu = 2.0 / (1.0 + (-2.0f64).exp());
        assert_eq!(by("silu-gate").follow(2.0, 1.0, 9.0), 2.0 * silu);
        let (tanh, erf) = (by("bias gelu-tanh"), by("bias gelu-erf"));
        assert!((tanh.follow(1.0, 0.0, 0.0) - erf.follow(1.0, 0.0, 0.0)).abs() < 1e-3);
    }
}
