//! `host-call`: what one SpMM call costs the CPU beside the GPU.

use std::path::Path;
use std::time::Instant;

use crate::api::{self, DnMat, SpMat, Spmm};
use crate::args::{Args, format_name};
use crate::csv::{self, Row};
use crate::cublas::{Cublas, Gemm};
use crate::data::{self, Mask};
use crate::driver::Driver;
use crate::env;
use crate::gpu::Gpu;
use crate::planned::Plan;
use crate::stats::Summary;

pub const HELP: &str = "\
host-call: CPU time of one SpMM call and of one execution of a plan, beside that of cublasGemmEx
  --shapes MxK      one shape                                               [512x512]
  --n N             tokens                                                  [8]
  --format LIST     as for spmm                                             [bitmap,slots,banked]
  --no-baseline, --out FILE, --commit NAME";

/// Calls between two waits for the GPU: few enough that the stream's queue is never full.
const BATCH: usize = 100;
const BATCHES: usize = 50;

/// Microseconds a call, a sample a batch.
fn time(gpu: &Gpu<'_>, call: &dyn Fn() -> Result<(), String>) -> Result<Summary, String> {
    let mut samples = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..BATCH {
            call()?;
        }
        samples.push(start.elapsed().as_secs_f64() * 1e6 / BATCH as f64);
        gpu.stream.synchronize()?;
    }
    Summary::of(&samples).ok_or_else(|| "nothing was timed".to_owned())
}

pub fn run(arguments: &[String]) -> Result<(), String> {
    let valued = ["shapes", "n", "format", "out", "commit"];
    let args = Args::parse(arguments, &valued, &["no-baseline"])?;
    let layers = crate::shapes::select(args.text("shapes", "512x512"))?;
    let layer = layers.first().ok_or("no shape")?;
    let (m, k, n) = (layer.m, layer.k, args.number("n", 8)?);
    let driver = Driver::load()?;
    let stream = driver.stream()?;
    let gpu = Gpu::new(&driver, &stream)?;
    let text = |e: api::Failure| e.to_string();
    let template = gpu.row("host-call", args.text("commit", env::COMMIT))?;
    let default_out = format!("bench/results/{}-{}.csv", env::slug(&gpu.device), template.date);
    let out = args.text("out", &default_out);

    let weights = gpu.driver.alloc(2 * m * k)?;
    weights.write(&data::pruned_weights(m, k, 0.8, Mask::Uniform, 1))?;
    let b = gpu.driver.alloc(2 * k * n)?;
    b.write(&data::activations(k * n, 2))?;
    let c = gpu.driver.alloc(2 * m * n)?;
    let b_descr = DnMat::new(k, n, k, b.pointer(), api::R_16F, api::ORDER_COL).map_err(text)?;
    let c_descr = DnMat::new(m, n, m, c.pointer(), api::R_16F, api::ORDER_COL).map_err(text)?;

    let cublas = if args.flag("no-baseline") { None } else { Some(Cublas::load(&stream)?) };
    let baseline = match &cublas {
        None => None,
        Some(cublas) => {
            let gemm = Gemm { m, n, k, a: weights.address(), b: b.address(), c: c.address() };
            Some(time(&gpu, &|| cublas.gemm(&gemm))?)
        }
    };
    println!("{}; library: {}", gpu.device, gpu.build);
    let mut rows = Vec::new();
    for format in args.formats("bitmap,slots,banked")? {
        let (a, buffer) =
            SpMat::compress(&gpu.handle, m, k, k, api::ORDER_ROW, weights.pointer(), format)
                .map_err(text)?;
        let call = Spmm {
            handle: &gpu.handle,
            op_b: api::NON_TRANSPOSE,
            alpha: 1.0,
            a: &a,
            b: &b_descr,
            beta: 0.0,
            c: &c_descr,
        };
        let plan = Plan::new(&gpu.handle, &a, &b_descr, &c_descr).map_err(text)?;
        let bytes =
            call.workspace_bytes().map_err(text)?.max(plan.workspace_bytes().map_err(text)?);
        let workspace = gpu.driver.alloc(bytes)?;
        call.preprocess(workspace.pointer()).map_err(text)?;
        let timed = [
            ("spmm", time(&gpu, &|| call.run(workspace.pointer()).map_err(text))?),
            (
                "plan",
                time(&gpu, &|| {
                    plan.execute(&a, &b_descr, &c_descr, workspace.pointer()).map_err(text)
                })?,
            ),
        ];
        for (what, time) in timed {
            println!(
                "{m}x{k} n={n} {:<9} {what}: {:.2} us a call ({:.2}..{:.2}), cublasGemmEx {}",
                format_name(a.format().map_err(text)?),
                time.median,
                time.p5,
                time.p95,
                baseline.map_or("-".to_owned(), |b| format!("{:.2} us", b.median))
            );
            rows.push(Row {
                format: format_name(a.format().map_err(text)?).to_owned(),
                m,
                k,
                n,
                sparsity: 0.8,
                us: time.median,
                us_p5: time.p5,
                us_p95: time.p95,
                baseline: cublas.as_ref().map_or("none".to_owned(), |c| c.name.clone()),
                baseline_us: baseline.map(|b| b.median),
                bytes: buffer.bytes(),
                kernel: what.to_owned(),
                ..template.clone()
            });
        }
    }
    csv::append(Path::new(out), &rows)?;
    println!("rows appended to {out}");
    Ok(())
}
