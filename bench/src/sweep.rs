//! `sweep`: every layer of the large models at many N and sparsities, in minutes.
//!
//! Weights are pruned and compressed on the device, and cuBLAS is measured once for each shape and N: before
//! everything else on the shape and once more after it, so that a drift of the clocks is in both.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::api::{self, Buffer, DnMat, SpMat, Spmm};
use crate::args::{Args, format_name};
use crate::csv::{self, Row};
use crate::cublas::{Cublas, Gemm};
use crate::data::{self, Mask, OracleRow};
use crate::driver::{Driver, Memory};
use crate::env;
use crate::gpu::{self, Gpu};
use crate::shapes::{self, Layer};
use crate::stats::Summary;
use crate::summary;

pub const HELP: &str = "\
sweep: all layers x N x sparsities with few launches each, and a summary of what misses the goals
  --shapes LIST     as for spmm        [opt-30b,opt-66b,opt-175b,llama-2-7b,llama-2-70b]
  --least N         only layers with so many million weights or more        [16]
  --n LIST          tokens                                                  [1,2,4,8,16,24,32,48,64]
  --sparsity LIST   per cents                                               [50,60,70,80,90]
  --format LIST     as for spmm                                             [auto]
  --mask LIST       as for spmm; with uniform and others: what uneven rows cost  [uniform]
  --iters N         timed launches of each side                             [20]
  --bandwidth GBPS  as for spmm
  --no-check        skip the oracle
  --no-baseline, --out FILE, --commit NAME, --seed N";

/// Rows of the product that the oracle computes, beside the first and the last.
const ORACLE_ROWS: usize = 6;

struct Sweep<'d> {
    gpu: Gpu<'d>,
    cublas: Option<Cublas>,
    tokens: Vec<usize>,
    sparsities: Vec<f64>,
    formats: Vec<i32>,
    masks: Vec<Mask>,
    iters: usize,
    seed: u64,
    bandwidth: f64,
    check: bool,
    template: Row,
}

pub fn run(arguments: &[String]) -> Result<(), String> {
    let valued = [
        "shapes",
        "least",
        "n",
        "sparsity",
        "format",
        "mask",
        "iters",
        "bandwidth",
        "out",
        "commit",
        "seed",
    ];
    let args = Args::parse(arguments, &valued, &["no-check", "no-baseline"])?;
    let lists = "opt-30b,opt-66b,opt-175b,llama-2-7b,llama-2-70b";
    let least = args.text("least", "16");
    let least: usize =
        least.parse().map_err(|_| format!("--least is a number of millions, not {least}"))?;
    let mut layers = shapes::select(args.text("shapes", lists))?;
    layers.retain(|layer| layer.m * layer.k >= least * 1_000_000);
    let mut tokens = args.numbers("n", "1,2,4,8,16,24,32,48,64")?;
    tokens.sort_unstable();

    let driver = Driver::load()?;
    let stream = driver.stream()?;
    let gpu = Gpu::new(&driver, &stream)?;
    let bandwidth = match args.bandwidth()? {
        Some(given) => given,
        None => gpu::copy_bandwidth(&driver, &stream)?,
    };
    let cublas = if args.flag("no-baseline") { None } else { Some(Cublas::load(&stream)?) };
    let mut template = gpu.row("spmm", args.text("commit", env::COMMIT))?;
    template.baseline = cublas.as_ref().map_or("none".to_owned(), |c| c.name.clone());
    let default_out = format!("bench/results/{}-{}.csv", env::slug(&gpu.device), template.date);
    let out = args.text("out", &default_out);
    println!("{}; library: {}; baseline: {}", gpu.device, gpu.build, template.baseline);

    let sweep = Sweep {
        gpu,
        cublas,
        tokens,
        sparsities: args.sparsities("50,60,70,80,90")?,
        formats: args.formats("auto")?,
        masks: args.masks("uniform")?,
        iters: args.number("iters", 20)?,
        seed: args.number("seed", 1)? as u64,
        bandwidth,
        check: !args.flag("no-check"),
        template,
    };
    let heads: String = sweep.tokens.iter().map(|n| format!(" {:>12}", format!("N={n}"))).collect();
    println!("\ntimes cuBLAS (microseconds)\n{:<46}{heads}", "layer, zeros, format");
    let started = Instant::now();
    let mut rows = Vec::new();
    for layer in &layers {
        let found = sweep.layer(layer)?;
        csv::append(Path::new(out), &found)?;
        rows.extend(found);
    }
    println!("\n{}", summary::of(&rows));
    println!("{} rows in {:.0} s, appended to {out}", rows.len(), started.elapsed().as_secs_f64());
    Ok(())
}

/// What all products of a layer share.
struct Fixed<'d> {
    b: Memory<'d>,
    b_host: Vec<u16>,
    c: Memory<'d>,
}

impl<'d> Sweep<'d> {
    fn layer(&self, layer: &Layer) -> Result<Vec<Row>, String> {
        let (m, k) = (layer.m, layer.k);
        let driver = self.gpu.driver;
        let most = self.tokens.last().copied().ok_or("no N")?;
        let b_host = data::activations(k * most, 77);
        let fixed =
            Fixed { b: driver.alloc(2 * k * most)?, b_host, c: driver.alloc(2 * m * most)? };
        fixed.b.write(&fixed.b_host)?;

        // The weights before pruning are what cuBLAS multiplies: its time does not depend on zeros in them.
        let dense = driver.alloc(2 * m * k)?;
        dense.write(&data::pruned_weights(m, k, 0.0, Mask::Uniform, self.seed))?;
        let mut others = Vec::new();
        if self.cublas.is_some() {
            for _ in 1..gpu::copies(self.gpu.l2_bytes, 2 * m * k) {
                let copy = driver.alloc(2 * m * k)?;
                copy.copy_from(&dense, self.gpu.stream)?;
                others.push(copy);
            }
        }
        let copies: Vec<u64> =
            others.iter().map(Memory::address).chain([dense.address()]).collect();
        let mut baseline: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        self.measure_baseline(layer, &fixed, &copies, &mut baseline)?;

        let text = |e: api::Failure| format!("{} {m}x{k}: {e}", layer.name);
        let pruned = self.gpu.handle.alloc(2 * m * k).map_err(text)?;
        let descr =
            |pointer| DnMat::new(m, k, k, pointer, api::R_16F, api::ORDER_ROW).map_err(text);
        let (source, target) = (descr(dense.pointer())?, descr(pruned.pointer())?);
        let handle = &self.gpu.handle;
        let bytes = source.prune_scratch_bytes(handle, &target, api::PRUNE_MATRIX).map_err(text)?;
        let scratch = handle.alloc(bytes).map_err(text)?;
        let mut found = Vec::new();
        for &mask in &self.masks {
            for &sparsity in &self.sparsities {
                if mask == Mask::Uniform {
                    source
                        .prune(handle, &target, api::PRUNE_MATRIX, sparsity, &scratch)
                        .map_err(text)?;
                    self.gpu.stream.synchronize()?;
                } else {
                    let masked = data::pruned_weights(m, k, sparsity, mask, self.seed);
                    pruned.write(0, &masked).map_err(text)?;
                }
                found.extend(self.matrix(layer, mask, sparsity, &pruned, &fixed)?);
            }
        }
        self.measure_baseline(layer, &fixed, &copies, &mut baseline)?;
        for row in &mut found {
            let samples = baseline.get(&row.n).map_or(&[][..], Vec::as_slice);
            row.baseline_us = Summary::of(samples).map(|s| s.median);
        }
        for line in found.chunks(self.tokens.len()) {
            print_line(layer, line);
        }
        Ok(found)
    }

    fn measure_baseline(
        &self,
        layer: &Layer,
        fixed: &Fixed<'_>,
        copies: &[u64],
        samples: &mut BTreeMap<usize, Vec<f64>>,
    ) -> Result<(), String> {
        let Some(cublas) = &self.cublas else { return Ok(()) };
        for &n in &self.tokens {
            let (b, c) = (fixed.b.address(), fixed.c.address());
            let launch = |i: usize| {
                let a = *copies.get(i % copies.len()).ok_or("no copies")?;
                cublas.gemm(&Gemm { m: layer.m, n, k: layer.k, a, b, c })
            };
            self.gpu.time(self.iters.div_ceil(2), 0, samples.entry(n).or_default(), &launch)?;
        }
        Ok(())
    }

    /// All formats and N of one pruned matrix.
    fn matrix(
        &self,
        layer: &Layer,
        mask: Mask,
        sparsity: f64,
        pruned: &Buffer<'_>,
        fixed: &Fixed<'_>,
    ) -> Result<Vec<Row>, String> {
        let (m, k) = (layer.m, layer.k);
        let handle = &self.gpu.handle;
        let name = format!("{} {m}x{k} {:.0} %", layer.name, 100.0 * sparsity);
        let text = |e: api::Failure| format!("{name}: {e}");
        let compress = |format| {
            let (order, pointer) = (api::ORDER_ROW, pruned.pointer());
            SpMat::compress(handle, m, k, k, order, pointer, format).map_err(text)
        };
        let oracle = if self.check { self.oracle(layer, pruned, &fixed.b_host)? } else { vec![] };
        let mut rows = Vec::new();
        for &format in &self.formats {
            // Compressed as often as there have to be copies: the encoder is faster than it is to ask twice.
            let first = compress(format)?;
            let bytes = first.1.bytes();
            let mut copies = vec![first];
            for _ in 1..gpu::copies(self.gpu.l2_bytes, bytes) {
                copies.push(compress(format)?);
            }
            let (format, size) = match copies.first() {
                Some((a, _)) => (a.format().map_err(text)?, a.size().map_err(text)?),
                None => return Err(format!("{name}: no copies")),
            };
            for &n in &self.tokens {
                let us = self
                    .product(layer, &copies, fixed, n, &oracle)
                    .map_err(|e| format!("{name} n={n} {}: {e}", format_name(format)))?;
                let floor_us = (m * k / 8 + 2 * size.nnz as usize) as f64 / self.bandwidth * 1e6;
                rows.push(Row {
                    format: format_name(format).to_owned(),
                    m,
                    k,
                    n,
                    sparsity,
                    us: us.median,
                    us_p5: us.p5,
                    us_p95: us.p95,
                    bytes,
                    gbps: bytes as f64 / us.median * 1e-3,
                    floor_fraction: Some(floor_us / us.median),
                    kernel: format!("sweep{}", mask.tag()),
                    ..self.template.clone()
                });
            }
        }
        Ok(rows)
    }

    /// Times one product over the copies of A and checks what it has computed.
    fn product(
        &self,
        layer: &Layer,
        copies: &[(SpMat, Buffer<'_>)],
        fixed: &Fixed<'_>,
        n: usize,
        oracle: &[OracleRow],
    ) -> Result<Summary, String> {
        let (m, k) = (layer.m, layer.k);
        let text = |e: api::Failure| e.to_string();
        let descr = |rows, pointer| {
            DnMat::new(rows, n, rows, pointer, api::R_16F, api::ORDER_COL).map_err(text)
        };
        let (b, c) = (descr(k, fixed.b.pointer())?, descr(m, fixed.c.pointer())?);
        let calls: Vec<Spmm<'_>> = copies
            .iter()
            .map(|(a, _)| Spmm {
                handle: &self.gpu.handle,
                op_b: api::NON_TRANSPOSE,
                alpha: 1.0,
                a,
                b: &b,
                beta: 0.0,
                c: &c,
            })
            .collect();
        let first = calls.first().ok_or("no copies")?;
        let workspace = self.gpu.driver.alloc(first.workspace_bytes().map_err(text)?)?;
        for call in &calls {
            call.preprocess(workspace.pointer()).map_err(text)?;
        }
        fixed.c.fill(0xff, self.gpu.stream)?;
        let launch = |i: usize| -> Result<(), String> {
            let call = calls.get(i % calls.len()).ok_or("no copies")?;
            call.run(workspace.pointer()).map_err(text)
        };
        let mut samples = Vec::new();
        self.gpu.time(self.iters, 0, &mut samples, &launch)?;
        if self.check {
            let cut = |row: &OracleRow| OracleRow {
                row: row.row,
                product: row.product.iter().take(n).copied().collect(),
                scale: row.scale.iter().take(n).copied().collect(),
            };
            let expected: Vec<OracleRow> = oracle.iter().map(cut).collect();
            let got: Vec<u16> = fixed.c.read(m * n)?;
            data::check(&got, m, k, &expected).map_err(|e| format!("WRONG: {e}"))?;
        }
        Summary::of(&samples).ok_or_else(|| "nothing was timed".to_owned())
    }

    /// Some rows of the product with every column of B, from rows of the pruned matrix on the device.
    fn oracle(
        &self,
        layer: &Layer,
        pruned: &Buffer<'_>,
        b: &[u16],
    ) -> Result<Vec<OracleRow>, String> {
        let (m, k) = (layer.m, layer.k);
        let mut chosen: Vec<usize> = (0..ORACLE_ROWS).map(|i| (2 * i + 1) * m / 13).collect();
        chosen.extend([0, m - 1]);
        chosen.sort_unstable();
        chosen.dedup();
        let mut rows = Vec::with_capacity(chosen.len() * k);
        for &row in &chosen {
            rows.extend(pruned.read::<u16>(2 * row * k, k).map_err(|e| e.to_string())?);
        }
        let count = chosen.len();
        let mut found = Vec::new();
        for (&row, values) in chosen.iter().zip(rows.chunks(k)) {
            let one = data::oracle(values, b, 1, k, b.len() / k, 1);
            found.extend(one.into_iter().map(|o| OracleRow { row, ..o }));
        }
        if found.len() == count { Ok(found) } else { Err("the oracle lost a row".to_owned()) }
    }
}

fn print_line(layer: &Layer, rows: &[Row]) {
    let Some(first) = rows.first() else { return };
    let cells: String = rows
        .iter()
        .map(|row| {
            let ratio = row.ratio().map_or("-".to_owned(), |r| format!("{r:.2}"));
            format!(" {:>12}", format!("{ratio} ({:.1})", row.us))
        })
        .collect();
    let place = format!(
        "{:<18.18} {:>11} {:>3.0} % {}{}",
        layer.name,
        format!("{}x{}", layer.m, layer.k),
        100.0 * first.sparsity,
        first.format,
        first.kernel.trim_start_matches("sweep")
    );
    println!("{place:<46}{cells}");
}
