//! `host`: SpMM of a host handle beside a plain dense triple loop.

use std::path::Path;

use half::f16;

use crate::api::{self, DnMat, Handle, SpMat, Spmm};
use crate::args::{Args, format_name};
use crate::codec::time;
use crate::csv::{self, Row};
use crate::data;
use crate::env;
use crate::shapes;

pub const HELP: &str = "\
host: SpMM on the CPU, all cores, beside a plain dense triple loop on one core
  --shapes LIST     as for spmm                                             [4096x4096]
  --n LIST          tokens                                                  [16]
  --sparsity LIST   per cents                                               [50,80,90]
  --format LIST     banked, bitmap, sell, slots, tiled-csl, auto  [bitmap,slots,banked,sell,tiled-csl]
  --uneven          row densities from 1/4 to 7/4 of the mean
  --iters N         timed repetitions                                       [10]
  --out FILE        CSV to append to        [bench/results/<cpu>-<date>.csv]
  --commit NAME, --seed N";

/// The baseline: three loops over fp32 values that were converted beforehand, in the order in which
/// both operands are read contiguously.
fn triple_loop(a: &[f32], b: &[f32], c: &mut [f32], m: usize, k: usize, n: usize) {
    for i in 0..m {
        for j in 0..n {
            let mut sum = 0.0;
            for l in 0..k {
                sum += a[i * k + l] * b[j * k + l];
            }
            c[j * m + i] = sum;
        }
    }
}

pub fn run(arguments: &[String]) -> Result<(), String> {
    let valued = ["shapes", "n", "sparsity", "format", "iters", "out", "commit", "seed"];
    let args = Args::parse(arguments, &valued, &["uneven"])?;
    let layers = shapes::select(args.text("shapes", "4096x4096"))?;
    let tokens = args.numbers("n", "16")?;
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
        "\n{:<18} {:>13} {:>5} {:>6} {:<9} {:>10} {:>20} {:>10} {:>6} {:>7}",
        "layer", "shape", "n", "zeros", "format", "ms", "p5..p95", "loop ms", "ratio", "GB/s"
    );
    for layer in &layers {
        let (m, k) = (layer.m, layer.k);
        for &sparsity in &sparsities {
            let mut dense = data::pruned_weights(m, k, sparsity, args.mask()?, seed);
            let widened: Vec<f32> = dense.iter().map(|&v| f16::from_bits(v).to_f32()).collect();
            for &n in &tokens {
                let mut b = data::activations(k * n, n as u64 + 77);
                let b_wide: Vec<f32> = b.iter().map(|&v| f16::from_bits(v).to_f32()).collect();
                let mut c_wide = vec![0.0f32; m * n];
                // The loop takes long and hardly varies: three repetitions are enough.
                let baseline = time(iters.min(3), || {
                    triple_loop(&widened, &b_wide, std::hint::black_box(&mut c_wide), m, k, n);
                    Ok(())
                })?;
                let oracle = data::oracle(&dense, &b, m, k, n, 64);
                for &format in &formats {
                    let text =
                        |e: api::Failure| format!("{m}x{k} n={n} {}: {e}", format_name(format));
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
                    let mut c = vec![0xffffu16; m * n];
                    let b_descr =
                        DnMat::new(k, n, k, b.as_mut_ptr().cast(), api::R_16F, api::ORDER_COL)
                            .map_err(text)?;
                    let c_descr =
                        DnMat::new(m, n, m, c.as_mut_ptr().cast(), api::R_16F, api::ORDER_COL)
                            .map_err(text)?;
                    let call = Spmm {
                        handle: &host,
                        op_b: api::NON_TRANSPOSE,
                        alpha: 1.0,
                        a: &sparse,
                        b: &b_descr,
                        beta: 0.0,
                        c: &c_descr,
                    };
                    let workspace =
                        host.alloc(call.workspace_bytes().map_err(text)?).map_err(text)?;
                    let us = time(iters, || call.run(workspace.pointer()).map_err(text))?;
                    data::check(&c, m, k, &oracle).map_err(|e| {
                        format!("WRONG: {m}x{k} n={n} {}: {e}", format_name(format))
                    })?;
                    let row = Row {
                        date: date.clone(),
                        commit: args.text("commit", env::COMMIT).to_owned(),
                        device: cpu.clone(),
                        driver: "none".to_owned(),
                        toolkit: "none".to_owned(),
                        op: "spmm".to_owned(),
                        format: format_name(sparse.format().map_err(text)?).to_owned(),
                        dtype: "f16".to_owned(),
                        m,
                        k,
                        n,
                        sparsity,
                        us: us.median,
                        us_p5: us.p5,
                        us_p95: us.p95,
                        baseline: "triple-loop".to_owned(),
                        baseline_us: Some(baseline.median),
                        bytes: compressed.bytes(),
                        gbps: compressed.bytes() as f64 / us.median * 1e-3,
                        floor_fraction: None,
                        kernel: if args.flag("uneven") { "host uneven" } else { "host" }.to_owned(),
                    };
                    println!(
                        "{:<18.18} {:>13} {:>5} {:>4.0} % {:<9} {:>10.3} {:>9.3}..{:<9.3} {:>10.2} {:>6.1} {:>7.2}",
                        layer.name,
                        format!("{m}x{k}"),
                        n,
                        100.0 * sparsity,
                        row.format,
                        row.us * 1e-3,
                        row.us_p5 * 1e-3,
                        row.us_p95 * 1e-3,
                        baseline.median * 1e-3,
                        row.ratio().unwrap_or(0.0),
                        row.gbps
                    );
                    csv::append(Path::new(out), &[row])?;
                }
            }
        }
    }
    println!("\nrows appended to {out}");
    Ok(())
}
