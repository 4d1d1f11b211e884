//! `codec`: compression and decompression on the CPU, in bytes of dense matrix a second.

use std::path::Path;
use std::time::Instant;

use crate::api::{self, DnMat, Handle, SpMat};
use crate::args::{Args, format_name};
use crate::csv::{self, Row};
use crate::data;
use crate::env;
use crate::shapes;
use crate::stats::Summary;

pub const HELP: &str = "\
codec: encode and decode on the CPU, beside a single-threaded memcpy of the dense matrix
  --shapes LIST     as for spmm                                             [4096x4096]
  --sparsity LIST   per cents                                               [50,80,90]
  --format LIST     banked, bitmap, sell, slots, tiled-csl, auto  [bitmap,slots,banked,sell,tiled-csl]
  --uneven          row densities from 1/4 to 7/4 of the mean
  --iters N         timed repetitions                                       [10]
  --out FILE        CSV to append to        [bench/results/<cpu>-<date>.csv]
  --commit NAME, --seed N";

pub fn run(arguments: &[String]) -> Result<(), String> {
    let valued = ["shapes", "sparsity", "format", "iters", "out", "commit", "seed"];
    let args = Args::parse(arguments, &valued, &["uneven"])?;
    let layers = shapes::select(args.text("shapes", "4096x4096"))?;
    let sparsities = args.sparsities("50,80,90")?;
    let formats = args.formats("bitmap,slots,banked,sell,tiled-csl")?;
    let iters = args.number("iters", 10)?;
    let seed = args.number("seed", 1)? as u64;
    let (cpu, date) = (env::cpu(), env::today());
    let default_out = format!("bench/results/{}-{date}.csv", env::slug(&cpu));
    let out = args.text("out", &default_out);
    let host = Handle::host().map_err(|e| e.to_string())?;

    println!("{cpu}; library: {}", api::build_info());
    println!(
        "\n{:<18} {:>13} {:>6} {:<9} {:<6} {:>10} {:>20} {:>7} {:>9} {:>7}",
        "layer", "shape", "zeros", "format", "op", "ms", "p5..p95", "GB/s", "memcpy ms", "bytes"
    );
    for layer in &layers {
        let (m, k) = (layer.m, layer.k);
        for &sparsity in &sparsities {
            let mut dense = data::pruned_weights(m, k, sparsity, args.mask()?, seed);
            // Filled, so that the baseline does not pay for first touching its pages.
            let mut back = vec![1u16; m * k];
            let copy = time(iters, || {
                std::hint::black_box(&mut back).copy_from_slice(&dense);
                Ok(())
            })?;
            for &format in &formats {
                let text = |e: api::Failure| format!("{m}x{k} {}: {e}", format_name(format));
                let (sparse, compressed) = SpMat::compress(
                    &host,
                    m,
                    k,
                    k,
                    api::ORDER_ROW,
                    dense.as_mut_ptr().cast(),
                    format,
                )
                .map_err(text)?;
                let source =
                    DnMat::new(m, k, k, dense.as_mut_ptr().cast(), api::R_16F, api::ORDER_ROW)
                        .map_err(text)?;
                let scratch = sparse.compress_scratch_bytes(&host, &source).map_err(text)?;
                let scratch = host.alloc(scratch).map_err(text)?;
                // Both passes, into memory that is there already.
                let encode = time(iters, || {
                    let again = SpMat::new(m, k, format).map_err(text)?;
                    again.analyse(&host, &source, &scratch).map_err(text)?;
                    again.set_buffer(&host, &compressed).map_err(text)?;
                    again.convert(&host, &source, &scratch).map_err(text)
                })?;
                back.fill(0xffff);
                let target =
                    DnMat::new(m, k, k, back.as_mut_ptr().cast(), api::R_16F, api::ORDER_ROW)
                        .map_err(text)?;
                let decode = time(iters, || sparse.decompress(&host, &target).map_err(text))?;
                if back != dense {
                    return Err(format!(
                        "WRONG: {m}x{k} {}: the round trip changed the matrix",
                        format_name(format)
                    ));
                }
                let mut rows = Vec::new();
                for (op, us) in [("encode", encode), ("decode", decode)] {
                    let row = Row {
                        date: date.clone(),
                        commit: args.text("commit", env::COMMIT).to_owned(),
                        device: cpu.clone(),
                        driver: "none".to_owned(),
                        toolkit: "none".to_owned(),
                        op: op.to_owned(),
                        format: format_name(sparse.format().map_err(text)?).to_owned(),
                        dtype: "f16".to_owned(),
                        m,
                        k,
                        n: 0,
                        sparsity,
                        us: us.median,
                        us_p5: us.p5,
                        us_p95: us.p95,
                        baseline: "memcpy".to_owned(),
                        baseline_us: Some(copy.median),
                        bytes: compressed.bytes(),
                        gbps: (2 * m * k) as f64 / us.median * 1e-3,
                        floor_fraction: None,
                        kernel: if args.flag("uneven") { "host uneven" } else { "host" }.to_owned(),
                    };
                    println!(
                        "{:<18.18} {:>13} {:>4.0} % {:<9} {:<6} {:>10.2} {:>9.2}..{:<9.2} {:>7.2} {:>9.2} {:>7}",
                        layer.name,
                        format!("{m}x{k}"),
                        100.0 * sparsity,
                        row.format,
                        op,
                        row.us * 1e-3,
                        row.us_p5 * 1e-3,
                        row.us_p95 * 1e-3,
                        row.gbps,
                        copy.median * 1e-3,
                        row.bytes
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

/// Times `iters` runs after one that is not kept.
pub fn time(iters: usize, mut run: impl FnMut() -> Result<(), String>) -> Result<Summary, String> {
    run()?;
    let mut samples = Vec::with_capacity(iters);
    for _ in 0..iters {
        let start = Instant::now();
        run()?;
        samples.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Summary::of(&samples).ok_or_else(|| "nothing was timed".to_owned())
}
