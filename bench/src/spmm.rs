//! `spmm`: the library on the GPU beside cuBLAS, L2 cold, checked in the timed configuration.

use std::time::Instant;

use crate::api::{self, DnMat, Handle, SpMat, Spmm};
use crate::args::{Args, format_name};
use crate::csv::{self, Row};
use crate::cublas::{Cublas, Gemm};
use crate::data;
use crate::driver::{self, Driver, Memory};
use crate::env;
use crate::gpu::{self, Gpu};
use crate::shapes;
use crate::stats::Summary;

pub const HELP: &str = "\
spmm: SpMM on the GPU beside cuBLAS (fp16 in and out, fp32 accumulation), L2 cold
  --shapes LIST     lists (paper, opt-30b, ..., all), FILE.toml or MxK      [paper]
  --n LIST          tokens                                                  [8,16,32]
  --sparsity LIST   per cents                                               [50,60,70,80,90]
  --format LIST     banked, bitmap, sell, slots, tiled-csl, auto  [bitmap,slots,banked,sell,tiled-csl]
  --mask NAME       uniform; spread: row densities from 1/4 to 7/4 of the mean; rows: some rows dense,
                    some empty, the others log-normal; columns, patches: so are columns, or patches
                    of 64x64; groups: of each four neighbours as many (2:4) [uniform]
  --uneven          --mask spread
  --iters N         timed launches of each side                             [200]
  --flush           overwrite twice the L2 before each launch, beside rotating buffers
  --bandwidth GBPS  bandwidth of the floor, in 1e9 bytes/s                  [measured: device copy]
  --no-check        skip the oracle and the comparison with cuBLAS
  --no-baseline     do without cuBLAS
  --out FILE        CSV to append to        [bench/results/<device>-<date>.csv]
  --commit NAME     commit column           [the one this binary was built from]
  --seed N          of the random data      [1]";

const VALUED: [&str; 10] =
    ["mask", "shapes", "n", "sparsity", "format", "iters", "bandwidth", "out", "commit", "seed"];
const FLAGS: [&str; 4] = ["uneven", "flush", "no-check", "no-baseline"];

/// Rounds in which baseline and library take turns, so that both see the same clocks.
const ROUNDS: usize = 5;

/// Rows of the product that the oracle computes.
const ORACLE_ROWS: usize = 64;

struct Session<'d> {
    gpu: Gpu<'d>,
    cublas: Option<Cublas>,
    flush: Option<Memory<'d>>,
    bandwidth: f64,
    iters: usize,
    check: bool,
    template: Row,
}

pub fn run(arguments: &[String]) -> Result<(), String> {
    let args = Args::parse(arguments, &VALUED, &FLAGS)?;
    let layers = shapes::select(args.text("shapes", "paper"))?;
    let tokens = args.numbers("n", "8,16,32")?;
    let sparsities = args.sparsities("50,60,70,80,90")?;
    let formats = args.formats("bitmap,slots,banked,sell,tiled-csl")?;
    let iters = args.number("iters", 200)?;
    let seed = args.number("seed", 1)? as u64;
    let mask = args.mask()?;
    let given = args.bandwidth()?;

    let driver = Driver::load()?;
    let stream = driver.stream()?;
    let gpu = Gpu::new(&driver, &stream)?;
    let host = Handle::host().map_err(|e| e.to_string())?;
    let cublas = if args.flag("no-baseline") { None } else { Some(Cublas::load(&stream)?) };
    let bandwidth = match given {
        Some(bandwidth) => bandwidth,
        None => gpu::copy_bandwidth(&driver, &stream)?,
    };
    println!(
        "{}, {} SMs, L2 {} MiB, driver {}",
        gpu.device,
        driver.attribute(driver::ATTRIBUTE_SM_COUNT)?,
        gpu.l2_bytes >> 20,
        driver.version()?
    );
    println!("library: {}", gpu.build);
    if let Some(cublas) = &cublas {
        println!("baseline: {} ({})", cublas.name, cublas.path.display());
    }
    println!(
        "floor: bitmap bytes at {:.0} GB/s ({}); L2 cold by rotation{}; median of {iters} launches; {}",
        bandwidth / 1e9,
        if given.is_some() { "given" } else { "measured: device copy, read + write" },
        if args.flag("flush") { " and flush" } else { "" },
        mask.words()
    );

    let default_out = format!("bench/results/{}-{}.csv", env::slug(&gpu.device), env::today());
    let out = args.text("out", &default_out);
    let mut configuration = format!("default{}", mask.tag());
    if args.flag("flush") {
        configuration.push_str(" flush");
    }
    let session = Session {
        flush: if args.flag("flush") { Some(driver.alloc(2 * gpu.l2_bytes)?) } else { None },
        template: Row {
            baseline: cublas.as_ref().map_or("none".to_owned(), |c| c.name.clone()),
            kernel: configuration,
            ..gpu.row("spmm", args.text("commit", env::COMMIT))?
        },
        gpu,
        cublas,
        bandwidth,
        iters,
        check: !args.flag("no-check"),
    };

    println!(
        "\n{:<18} {:>13} {:>5} {:>6} {:<9} {:>8} {:>15} {:>8} {:>6} {:>7} {:>6} {:>6}",
        "layer",
        "shape",
        "n",
        "zeros",
        "format",
        "us",
        "p5..p95",
        "base us",
        "ratio",
        "GB/s",
        "floor",
        "error"
    );
    let total = layers.len() * sparsities.len();
    for (index, layer) in layers.iter().enumerate() {
        for (step, &sparsity) in sparsities.iter().enumerate() {
            // Preparation of a large matrix takes seconds; a line on stderr says what is going on.
            eprint!(
                "\r[{}/{total}] {} {:.0} %: preparing ...",
                index * sparsities.len() + step + 1,
                layer.name,
                100.0 * sparsity
            );
            let rows =
                session.measure_matrix(&host, layer, sparsity, mask, &formats, &tokens, seed)?;
            csv::append(std::path::Path::new(out), &rows)?;
        }
    }
    println!("\nrows appended to {out}");
    Ok(())
}

impl Session<'_> {
    #[allow(clippy::too_many_arguments)] // one call site; a struct would only rename the options
    fn measure_matrix(
        &self,
        host: &Handle,
        layer: &shapes::Layer,
        sparsity: f64,
        mask: data::Mask,
        formats: &[i32],
        tokens: &[usize],
        seed: u64,
    ) -> Result<Vec<Row>, String> {
        let (m, k) = (layer.m, layer.k);
        let started = Instant::now();
        let mut dense = data::pruned_weights(m, k, sparsity, mask, seed);
        let nnz = data::nonzeros(&dense);
        let text = |e: api::Failure| format!("{} {m}x{k}: {e}", layer.name);

        let mut dense_copies = Vec::new();
        if self.cublas.is_some() {
            let first = self.gpu.driver.alloc(2 * m * k)?;
            first.write(&dense)?;
            for _ in 1..gpu::copies(self.gpu.l2_bytes, 2 * m * k) {
                let copy = self.gpu.driver.alloc(2 * m * k)?;
                copy.copy_from(&first, self.gpu.stream)?;
                dense_copies.push(copy);
            }
            dense_copies.push(first);
            self.gpu.stream.synchronize()?;
        }

        let mut rows = Vec::new();
        for &format in formats {
            let (sparse, compressed) =
                SpMat::compress(host, m, k, k, api::ORDER_ROW, dense.as_mut_ptr().cast(), format)
                    .map_err(text)?;
            let format = sparse.format().map_err(text)?;
            let bytes = compressed.bytes();
            let mut weights = Vec::new();
            let content: Vec<u8> = compressed.read(0, bytes).map_err(text)?;
            for _ in 0..gpu::copies(self.gpu.l2_bytes, bytes) {
                let buffer = self.gpu.handle.upload(&content).map_err(text)?;
                weights.push((
                    SpMat::adopt(&self.gpu.handle, m, k, format, &buffer).map_err(text)?,
                    buffer,
                ));
            }
            drop((sparse, compressed, content));
            eprint!("\r\x1b[K");
            if started.elapsed().as_secs() >= 2 {
                eprint!("{} {:.0} %: measuring ...\r", layer.name, 100.0 * sparsity);
            }
            for &n in tokens {
                let weights: Vec<&SpMat> = weights.iter().map(|(matrix, _)| matrix).collect();
                let row = self.measure(
                    layer,
                    &dense,
                    nnz,
                    &dense_copies,
                    &weights,
                    bytes,
                    format,
                    n,
                    sparsity,
                )?;
                rows.push(row);
            }
        }
        Ok(rows)
    }

    #[allow(clippy::too_many_arguments)]
    fn measure(
        &self,
        layer: &shapes::Layer,
        dense: &[u16],
        nnz: usize,
        dense_copies: &[Memory<'_>],
        weights: &[&SpMat],
        bytes: usize,
        format: i32,
        n: usize,
        sparsity: f64,
    ) -> Result<Row, String> {
        let (m, k) = (layer.m, layer.k);
        let text =
            |e: api::Failure| format!("{} {m}x{k} n={n} {}: {e}", layer.name, format_name(format));
        let b_host = data::activations(k * n, n as u64 + 77);
        let b = self.gpu.driver.alloc(2 * k * n)?;
        b.write(&b_host)?;

        // Every copy of the weights has its own output, poisoned with NaN: after the timing all of
        // them must hold the same right bits.
        let b_descr = DnMat::new(k, n, k, b.pointer(), api::R_16F, api::ORDER_COL).map_err(text)?;
        let mut outputs = Vec::new();
        for _ in weights {
            let memory = self.gpu.driver.alloc(2 * m * n)?;
            memory.fill(0xff, self.gpu.stream)?;
            let descr =
                DnMat::new(m, n, m, memory.pointer(), api::R_16F, api::ORDER_COL).map_err(text)?;
            outputs.push((memory, descr));
        }
        let baseline_c = self.gpu.driver.alloc(2 * m * n)?;
        baseline_c.fill(0xff, self.gpu.stream)?;

        let calls: Vec<Spmm<'_>> = weights
            .iter()
            .zip(&outputs)
            .map(|(a, (_, c))| Spmm {
                handle: &self.gpu.handle,
                op_b: api::NON_TRANSPOSE,
                alpha: 1.0,
                a,
                b: &b_descr,
                beta: 0.0,
                c,
            })
            .collect();
        let first = calls.first().ok_or("no copies of the weights")?;
        let workspace = self.gpu.driver.alloc(first.workspace_bytes().map_err(text)?)?;
        workspace.fill(0xff, self.gpu.stream)?;
        // NULL when nothing is needed, as the API allows.
        let workspace_pointer =
            if workspace.bytes() == 0 { std::ptr::null_mut() } else { workspace.pointer() };
        for call in &calls {
            call.preprocess(workspace_pointer).map_err(text)?;
        }

        let ours = |i: usize| -> Result<(), String> {
            let call = calls.get(i % calls.len()).ok_or("no copies of the weights")?;
            call.run(workspace_pointer).map_err(text)
        };
        let theirs = |i: usize| -> Result<(), String> {
            let Some(cublas) = &self.cublas else { return Ok(()) };
            let a = dense_copies.get(i % dense_copies.len()).ok_or("no dense copies")?.address();
            cublas.gemm(&Gemm { m, n, k, a, b: b.address(), c: baseline_c.address() })
        };

        let (mut our_us, mut their_us) = (Vec::new(), Vec::new());
        let per_round = self.iters.div_ceil(ROUNDS).max(calls.len().div_ceil(ROUNDS));
        let time = |offset: usize, samples: &mut Vec<f64>, launch: &gpu::Launch<'_>| {
            let flush = self.flush.as_ref();
            gpu::time(self.gpu.driver, self.gpu.stream, flush, per_round, offset, samples, launch)
        };
        for round in 0..ROUNDS {
            if self.cublas.is_some() {
                time(round * per_round, &mut their_us, &theirs)?;
            }
            time(round * per_round, &mut our_us, &ours)?;
        }
        let us = Summary::of(&our_us).ok_or("nothing was timed")?;
        let baseline = Summary::of(&their_us);

        let mut error = String::from("-");
        if self.check {
            let expected: Vec<u16> = outputs.first().ok_or("no outputs")?.0.read(m * n)?;
            let oracle = data::oracle(dense, &b_host, m, k, n, ORACLE_ROWS);
            let worst = data::check(&expected, m, k, &oracle).map_err(|e| {
                format!("WRONG: {} {m}x{k} n={n} {}: {e}", layer.name, format_name(format))
            })?;
            error = format!("{worst:.2}");
            for (index, (memory, _)) in outputs.iter().enumerate() {
                let got: Vec<u16> = memory.read(m * n)?;
                if let Some(at) = (0..m * n).find(|&i| got.get(i) != expected.get(i)) {
                    return Err(format!(
                        "WRONG: {} {m}x{k} n={n} {}: copy {index} differs from copy 0 at C({}, {})",
                        layer.name,
                        format_name(format),
                        at % m,
                        at / m
                    ));
                }
            }
            if self.cublas.is_some() {
                let dense_result: Vec<u16> = baseline_c.read(m * n)?;
                let scale = oracle.iter().flat_map(|r| &r.scale).fold(0.0f64, |a, &b| a.max(b));
                compare(&expected, &dense_result, m, k, scale).map_err(|e| {
                    format!("WRONG: {} {m}x{k} n={n} {}: {e}", layer.name, format_name(format))
                })?;
            }
        }

        let floor_us = (m * k / 8 + 2 * nnz) as f64 / self.bandwidth * 1e6;
        let row = Row {
            format: format_name(format).to_owned(),
            m,
            k,
            n,
            sparsity,
            us: us.median,
            us_p5: us.p5,
            us_p95: us.p95,
            baseline_us: baseline.map(|b| b.median),
            bytes,
            gbps: bytes as f64 / us.median * 1e-3,
            floor_fraction: Some(floor_us / us.median),
            ..self.template.clone()
        };
        let optional =
            |v: Option<f64>, digits: usize| v.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
        println!(
            "{:<18.18} {:>13} {:>5} {:>4.0} % {:<9} {:>8.1} {:>7.1}..{:<6.1} {:>8} {:>6} {:>7.0} {:>6.2} {:>6}",
            layer.name,
            format!("{m}x{k}"),
            n,
            100.0 * sparsity,
            row.format,
            row.us,
            row.us_p5,
            row.us_p95,
            optional(row.baseline_us, 1),
            optional(row.ratio(), 2),
            row.gbps,
            floor_us / us.median,
            error
        );
        Ok(row)
    }
}

/// Compares every element with cuBLAS's: both are one fp16 rounding and fp32 sums away from the truth.
fn compare(ours: &[u16], theirs: &[u16], m: usize, k: usize, scale: f64) -> Result<(), String> {
    let value = |bits: u16| half::f16::from_bits(bits).to_f64();
    for (i, (&x, &y)) in ours.iter().zip(theirs).enumerate() {
        let (x, y) = (value(x), value(y));
        // The scale is the largest of a sample of rows; another row may be somewhat larger.
        let allowed = x.abs().max(y.abs()) / 1024.0
            + 8.0 * (k as f64 + 1.0) / (1u64 << 24) as f64 * scale
            + 1.2e-7;
        let difference = (x - y).abs();
        if difference.is_nan() || difference > allowed {
            return Err(format!("C({}, {}) is {x}, cuBLAS has {y}", i % m, i / m));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_allows_one_rounding_and_refuses_nan() {
        let bits = |v: f32| half::f16::from_f32(v).to_bits();
        assert!(compare(&[bits(1.0)], &[bits(1.0) + 1], 1, 10, 1.0).is_ok());
        assert!(compare(&[bits(1.0)], &[bits(1.01)], 1, 10, 1.0).is_err());
        assert!(compare(&[0xffff], &[bits(1.0)], 1, 10, 1.0).is_err());
    }
}
