//! `convert`: compression, decompression, its check and pruning on the GPU, in bytes of dense matrix a second.

use std::path::Path;

use crate::api::{self, DnMat, Handle, SpMat};
use crate::args::{Args, format_name};
use crate::csv::{self, Row};
use crate::data;
use crate::driver::{Driver, Stream};
use crate::env;
use crate::shapes;
use crate::stats::Summary;

pub const HELP: &str = "\
convert: encode, decode, check and prune on the GPU, beside a device copy of the dense matrix
  --shapes LIST     as for spmm                                       [12288x12288]
  --sparsity LIST   per cents                                         [50,80,90]
  --format LIST     banked, bitmap, sell, slots, tiled-csl, auto     [slots,banked,bitmap,tiled-csl]
  --col-major       the dense matrix is column-major
  --uneven          row densities from 1/4 to 7/4 of the mean
  --iters N         timed repetitions                                 [20]
  --out FILE        CSV to append to        [bench/results/<device>-<date>.csv]
  --commit NAME, --seed N";

/// Times between events on the stream; what waits for the stream in between is part of it.
struct Clock<'d> {
    driver: &'d Driver,
    stream: &'d Stream<'d>,
    iters: usize,
}

impl Clock<'_> {
    fn time(&self, mut run: impl FnMut() -> Result<(), String>) -> Result<Summary, String> {
        let (start, end) = (self.driver.event()?, self.driver.event()?);
        run()?;
        let mut samples = Vec::with_capacity(self.iters);
        for _ in 0..self.iters {
            self.stream.synchronize()?;
            start.record(self.stream)?;
            run()?;
            end.record(self.stream)?;
            self.stream.synchronize()?;
            samples.push(end.micros_since(&start)?);
        }
        Summary::of(&samples).ok_or_else(|| "nothing was timed".to_owned())
    }
}

pub fn run(arguments: &[String]) -> Result<(), String> {
    let valued = ["shapes", "sparsity", "format", "iters", "out", "commit", "seed"];
    let args = Args::parse(arguments, &valued, &["uneven", "col-major"])?;
    let layers = shapes::select(args.text("shapes", "12288x12288"))?;
    let sparsities = args.sparsities("50,80,90")?;
    let formats = args.formats("slots,banked,bitmap,tiled-csl")?;
    let iters = args.number("iters", 20)?;
    let seed = args.number("seed", 1)? as u64;

    let driver = Driver::load()?;
    let stream = driver.stream()?;
    let handle = Handle::device().map_err(|e| e.to_string())?;
    handle.set_stream(stream.raw()).map_err(|e| e.to_string())?;
    let device = driver.device_name()?;
    let build = api::build_info();
    let date = env::today();
    let default_out = format!("bench/results/{}-{date}.csv", env::slug(&device));
    let out = args.text("out", &default_out);
    let clock = Clock { driver: &driver, stream: &stream, iters };
    let order = if args.flag("col-major") { api::ORDER_COL } else { api::ORDER_ROW };
    let mut kernel = String::from("gpu");
    for flag in ["col-major", "uneven"] {
        if args.flag(flag) {
            kernel = format!("{kernel} {flag}");
        }
    }

    println!("{device}; library: {build}");
    println!(
        "\n{:<18} {:>13} {:>6} {:<9} {:<12} {:>10} {:>20} {:>8} {:>8} {:>10}",
        "layer", "shape", "zeros", "format", "op", "us", "p5..p95", "GB/s", "copy us", "bytes"
    );
    for layer in &layers {
        let (m, k) = (layer.m, layer.k);
        let ld = if order == api::ORDER_COL { m } else { k };
        let text = |e: api::Failure| format!("{m}x{k}: {e}");
        for &sparsity in &sparsities {
            // Row-major numbers read as column-major are a matrix of the same kind.
            let weights = data::pruned_weights(m, k, sparsity, args.mask()?, seed);
            let dense = driver.alloc(2 * m * k)?;
            dense.write(&weights)?;
            let back = driver.alloc(2 * m * k)?;
            let copy = clock.time(|| back.copy_from(&dense, &stream))?;
            let descr = |memory: &crate::driver::Memory<'_>| {
                DnMat::new(m, k, ld, memory.pointer(), api::R_16F, order).map_err(text)
            };
            let (source, target) = (descr(&dense)?, descr(&back)?);
            let row = |op: &str, format: &str, time: &Summary, bytes: usize| Row {
                date: date.clone(),
                commit: args.text("commit", env::COMMIT).to_owned(),
                device: device.clone(),
                driver: driver.version().unwrap_or_default(),
                toolkit: env::toolkit(&build),
                op: op.to_owned(),
                format: format.to_owned(),
                dtype: "f16".to_owned(),
                m,
                k,
                n: 0,
                sparsity,
                us: time.median,
                us_p5: time.p5,
                us_p95: time.p95,
                baseline: "device-copy".to_owned(),
                baseline_us: Some(copy.median),
                bytes,
                gbps: (2 * m * k) as f64 / time.median * 1e-3,
                floor_fraction: None,
                kernel: kernel.clone(),
            };
            let mut rows = Vec::new();
            for &format in &formats {
                let sparse = SpMat::new(m, k, format).map_err(text)?;
                let scratch = sparse.compress_scratch_bytes(&handle, &source).map_err(text)?;
                let scratch = handle.alloc(scratch).map_err(text)?;
                sparse.analyse(&handle, &source, &scratch).map_err(text)?;
                let bytes = sparse.size().map_err(text)?.bytes;
                let compressed = handle.alloc(bytes).map_err(text)?;
                // Both passes, into memory that is there already.
                let encode = clock.time(|| {
                    sparse.analyse(&handle, &source, &scratch).map_err(text)?;
                    sparse.set_buffer(&handle, &compressed).map_err(text)?;
                    sparse.convert(&handle, &source, &scratch).map_err(text)
                })?;
                back.fill(0xff, &stream)?;
                let decode =
                    clock.time(|| sparse.start_decompress(&handle, &target).map_err(text))?;
                if back.read::<u16>(m * k)? != weights {
                    return Err(format!(
                        "WRONG: {m}x{k} {}: the round trip changed the matrix",
                        format_name(format)
                    ));
                }
                let resolved = sparse.format().map_err(text)?;
                let check = clock.time(|| {
                    SpMat::adopt(&handle, m, k, resolved, &compressed).map(drop).map_err(text)
                })?;
                let name = format_name(resolved);
                for (op, time) in [("encode", &encode), ("decode", &decode), ("check", &check)] {
                    rows.push(row(op, name, time, bytes));
                }
            }
            for (op, alg) in [("prune", api::PRUNE_MATRIX), ("prune-rows", api::PRUNE_ROW)] {
                let bytes = source.prune_scratch_bytes(&handle, &target, alg).map_err(text)?;
                let scratch = handle.alloc(bytes).map_err(text)?;
                // To the sparsity that it has and half of what is left.
                let goal = sparsity + (1.0 - sparsity) / 2.0;
                let prune = clock
                    .time(|| source.prune(&handle, &target, alg, goal, &scratch).map_err(text))?;
                if op == "prune" {
                    let zeros = m * k - data::nonzeros(&back.read::<u16>(m * k)?);
                    let wanted = (goal * (m * k) as f64).round() as usize;
                    if zeros != wanted {
                        return Err(format!("WRONG: {zeros} zeros, {wanted} were asked for"));
                    }
                }
                rows.push(row(op, "dense", &prune, 2 * m * k));
            }
            for row in &rows {
                println!(
                    "{:<18.18} {:>13} {:>4.0} % {:<9} {:<12} {:>10.1} {:>9.1}..{:<9.1} {:>8.0} {:>8.1} {:>10}",
                    layer.name,
                    format!("{m}x{k}"),
                    100.0 * sparsity,
                    row.format,
                    row.op,
                    row.us,
                    row.us_p5,
                    row.us_p95,
                    row.gbps,
                    copy.median,
                    row.bytes
                );
            }
            csv::append(Path::new(out), &rows)?;
        }
    }
    println!("\nrows appended to {out}");
    Ok(())
}
