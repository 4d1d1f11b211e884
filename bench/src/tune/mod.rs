//! `tune`: measures every way to run some products, fits the planner's coefficients to the times, and writes
//! the table that the library is built with.

mod dense;
mod fit;
mod rows;
mod table;

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use flash_llm::format::Header;
use flash_llm::plan::{self, BAccess, DeviceProps, KernelId, Problem};

use crate::api::{self, Buffer, DnMat, SpMat};
use crate::args::{Args, format_name};
use crate::data::{self, Mask, OracleRow};
use crate::driver::Driver;
use crate::env;
use crate::gpu::{self, Gpu};
use crate::planned::Plan;
use crate::shapes::{self, Layer};
use crate::stats::Summary;
use fit::Sample;
use rows::Timing;

pub const HELP: &str = "\
tune: times every algorithm and split, fits the planner's coefficients, writes its table
  --shapes LIST     as for spmm   [28672x7168,7168x7168,9216x36864,4096x11008,4096x4096]
  --n LIST          tokens, of every kernel width one     [1,8,16,24,32,48,64,96,112,128,160,192,224,256]
  --sparsity LIST   per cents                                               [50,70,80,90]
  --format LIST     banked, bitmap, sell, slots, tiled-csl       [slots,bitmap,banked,sell]
  --iters N         timed launches of each way                              [6]
  --seconds N       no new way is measured after so long                   [110]
  --rows FILE       where the times go               [bench/tune/<device>-<date>.csv]
  --from FILE       read the times of an earlier run instead of measuring
  --dense DIR       rows of earlier benchmarks: what cuBLAS took            [bench/results]
  --table FILE      the table                        [src/plan/table/<device>.rs]
  --no-check        skip the oracle
  --no-unseen       do without the fits that leave a shape out, which take most of the time
  --commit NAME, --seed N";

pub fn run(arguments: &[String]) -> Result<(), String> {
    let valued = [
        "shapes", "n", "sparsity", "format", "iters", "seconds", "rows", "from", "dense", "table",
        "commit", "seed",
    ];
    let args = Args::parse(arguments, &valued, &["no-check", "no-unseen"])?;
    let timings = match args.optional("from") {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
            rows::parse(&text).map_err(|e| format!("{path}: {e}"))?
        }
        None => measure(&args)?,
    };
    let first = timings.first().ok_or("nothing was measured")?;
    let samples: Vec<Sample> = timings.iter().map(Timing::sample).collect();
    let base = plan::table::of(&first.props.name);
    let fitted = fit::fit(&samples, base.law);
    println!("\n{}", fit::report(&samples, base.law, &fitted, !args.flag("no-unseen")));
    let slug = env::slug(&first.props.name).replace('-', "_");
    let default_table = format!("src/plan/table/{slug}.rs");
    let path = args.text("table", &default_table);
    let chosen = fit::regrets(&samples, &|kernel| fitted.law(kernel));
    let mean = 100.0 * chosen.iter().sum::<f64>() / chosen.len().max(1) as f64;
    // Where a program was carried to, there may be no rows: what was known of the device stays.
    let results = Path::new(args.text("dense", "bench/results"));
    let earlier = if args.optional("dense").is_some() || results.exists() {
        crate::report::load(results)?
    } else {
        Vec::new()
    };
    let known = plan::table::of_measured(&first.props.name).and_then(|table| table.dense);
    let dense = dense::fit(&earlier, &first.props.name).or(known);
    println!("dense: {dense:?}");
    // Rows of later runs are appended.
    let newest = timings.last().unwrap_or(first);
    let text = table::render(
        &table::Head {
            device: &first.props.name,
            driver: &first.driver,
            toolkit: &first.toolkit,
            date: &newest.date,
            commit: &newest.commit,
            source: &format!(
                "fitted to {} measurements; its choices take {mean:.1} % longer than the best on average",
                samples.len()
            ),
            dense,
        },
        &|kernel| fitted.law(kernel),
    );
    std::fs::write(path, text).map_err(|e| format!("{path}: {e}"))?;
    println!("table written to {path}");
    Ok(())
}

/// Times the best way of a product that another may take to be kept: what is slower nobody would choose, and there are many.
const WORTH: f64 = 1.75;

struct Tuning<'d> {
    gpu: Gpu<'d>,
    props: DeviceProps,
    iters: usize,
    check: bool,
    end: Instant,
    template: Timing,
    /// Kernels, formats and N whose product was checked.
    checked: HashSet<(KernelId, i32, usize)>,
    done: Vec<Timing>,
}

/// One compressed matrix, in as many copies as it takes to keep it out of the L2.
struct Matrix<'a, 'h> {
    layer: &'a Layer,
    sparsity: f64,
    format: i32,
    header: Header,
    copies: &'a [(SpMat, Buffer<'h>)],
    /// The first rows of it, dense.
    rows: &'a [u16],
}

fn measure(args: &Args) -> Result<Vec<Timing>, String> {
    let default_shapes = "28672x7168,7168x7168,9216x36864,4096x11008,4096x4096";
    let layers = shapes::select(args.text("shapes", default_shapes))?;
    let tokens = args.numbers("n", "1,8,16,24,32,48,64,96,112,128,160,192,224,256")?;
    let sparsities = args.sparsities("50,70,80,90")?;
    let formats = args.formats("slots,bitmap,banked,sell")?;
    let seed = args.number("seed", 1)? as u64;
    let driver = Driver::load()?;
    let stream = driver.stream()?;
    let gpu = Gpu::new(&driver, &stream)?;
    let row = gpu.row("tune", args.text("commit", env::COMMIT))?;
    let default_rows = format!("bench/tune/{}-{}.csv", env::slug(&gpu.device), row.date);
    let out = args.text("rows", &default_rows);
    let props = gpu.props()?;
    println!("{}, {} SMs; library: {}", gpu.device, props.sm_count, gpu.build);
    let mut tuning = Tuning {
        template: Timing {
            date: row.date,
            commit: row.commit,
            driver: row.driver,
            toolkit: row.toolkit,
            ..Timing::of(&props)
        },
        props,
        gpu,
        iters: args.number("iters", 6)?,
        check: !args.flag("no-check"),
        end: Instant::now() + Duration::from_secs(args.number("seconds", 110)? as u64),
        checked: HashSet::new(),
        done: Vec::new(),
    };
    // A handle of its own: what is compressed with it must not borrow what changes.
    let handle = api::Handle::device().map_err(|e| e.to_string())?;
    handle.set_stream(stream.raw()).map_err(|e| e.to_string())?;
    // Shapes turn fastest: where the time runs out, no shape has been left out.
    let mut dense = Vec::new();
    for layer in &layers {
        let memory = driver.alloc(2 * layer.m * layer.k)?;
        memory.write(&data::pruned_weights(layer.m, layer.k, 0.0, Mask::Uniform, seed))?;
        dense.push(memory);
    }
    for &sparsity in &sparsities {
        for (layer, dense) in layers.iter().zip(&dense) {
            tuning.layer(&handle, layer, dense.pointer(), sparsity, &formats, &tokens)?;
        }
    }
    rows::write(Path::new(out), &tuning.done)?;
    println!("{} times written to {out}", tuning.done.len());
    if Instant::now() >= tuning.end {
        println!("the time ran out: some of the last matrices were not measured");
    }
    Ok(tuning.done)
}

impl Tuning<'_> {
    fn layer(
        &mut self,
        handle: &api::Handle,
        layer: &Layer,
        dense: api::Raw,
        sparsity: f64,
        formats: &[i32],
        tokens: &[usize],
    ) -> Result<(), String> {
        if Instant::now() >= self.end {
            return Ok(());
        }
        let (m, k) = (layer.m, layer.k);
        let text = |e: api::Failure| format!("{m}x{k}: {e}");
        let pruned = handle.alloc(2 * m * k).map_err(text)?;
        let descr =
            |pointer| DnMat::new(m, k, k, pointer, api::R_16F, api::ORDER_ROW).map_err(text);
        let (source, target) = (descr(dense)?, descr(pruned.pointer())?);
        let bytes = source.prune_scratch_bytes(handle, &target, api::PRUNE_MATRIX).map_err(text)?;
        let scratch = handle.alloc(bytes).map_err(text)?;
        source.prune(handle, &target, api::PRUNE_MATRIX, sparsity, &scratch).map_err(text)?;
        self.gpu.stream.synchronize()?;
        let rows: Vec<u16> = pruned.read(0, k * m.min(2)).map_err(text)?;
        let started = self.done.len();
        for &format in formats {
            let compress = || {
                let (order, pointer) = (api::ORDER_ROW, pruned.pointer());
                SpMat::compress(handle, m, k, k, order, pointer, format).map_err(text)
            };
            let mut copies = vec![compress()?];
            let bytes = copies.first().map_or(0, |c| c.1.bytes());
            for _ in 1..gpu::copies(self.gpu.l2_bytes, bytes) {
                copies.push(compress()?);
            }
            let (a, buffer) = copies.first().ok_or("no copies")?;
            let format = a.format().map_err(text)?;
            let front: Vec<u8> = buffer.read(0, Header::BYTES).map_err(text)?;
            let header = Header::from_bytes(&front).map_err(|e| e.to_string())?;
            let matrix = Matrix { layer, sparsity, format, header, copies: &copies, rows: &rows };
            // Wider products of SELL are slices of eight columns side by side: twice as many tell how that goes.
            let most = if format == api::FORMAT_SELL { 16 } else { usize::MAX };
            for &n in tokens.iter().filter(|&&n| n <= most) {
                self.product(handle, &matrix, n)?;
            }
        }
        println!(
            "{m}x{k} {:.0} %: {} ways, {:.0} s left",
            100.0 * sparsity,
            self.done.len() - started,
            self.end.saturating_duration_since(Instant::now()).as_secs_f64()
        );
        Ok(())
    }

    /// Every way to run one product.
    fn product(
        &mut self,
        handle: &api::Handle,
        matrix: &Matrix<'_, '_>,
        n: usize,
    ) -> Result<(), String> {
        let (m, k) = (matrix.layer.m, matrix.layer.k);
        let access = if k % 8 == 0 { BAccess::Direct } else { BAccess::Packed };
        let problem = Problem::new(&matrix.header, n, access).map_err(|e| e.to_string())?;
        let text = |e: api::Failure| format!("{m}x{k} n={n}: {e}");
        let driver = self.gpu.driver;
        let b_host = data::activations(k * n, 77);
        let (b, c) = (driver.alloc(2 * k * n)?, driver.alloc(2 * m * n)?);
        b.write(&b_host)?;
        let descr = |rows, pointer| {
            DnMat::new(rows, n, rows, pointer, api::R_16F, api::ORDER_COL).map_err(text)
        };
        let (b_descr, c_descr) = (descr(k, b.pointer())?, descr(m, c.pointer())?);
        let (first, _) = matrix.copies.first().ok_or("no copies")?;
        let plan = Plan::new(handle, first, &b_descr, &c_descr).map_err(text)?;
        let mut workspace = driver.alloc(0)?;
        let mut found = Vec::new();
        for way in plan::ways(&problem, &self.props) {
            if Instant::now() >= self.end {
                return Ok(());
            }
            let parts = i32::try_from(way.parts).map_err(|e| e.to_string())?;
            plan.force(way.algorithm.id(), parts).map_err(text)?;
            let bytes = plan.workspace_bytes().map_err(text)?;
            if bytes > workspace.bytes() {
                workspace = driver.alloc(bytes)?;
            }
            let launch = |i: usize| -> Result<(), String> {
                let (a, _) = matrix.copies.get(i % matrix.copies.len()).ok_or("no copies")?;
                plan.execute(a, &b_descr, &c_descr, workspace.pointer()).map_err(text)
            };
            let mut samples = Vec::new();
            self.gpu.time(self.iters, 0, &mut samples, &launch)?;
            // A way that is fast because it is wrong must not get into the table.
            if self.check && self.checked.insert((way.algorithm.kernel, matrix.format, n)) {
                let got: Vec<u16> = c.read(m * n)?;
                for (row, values) in matrix.rows.chunks(k).enumerate() {
                    let oracle: Vec<OracleRow> = data::oracle(values, &b_host, 1, k, n, 1)
                        .into_iter()
                        .map(|o| OracleRow { row, ..o })
                        .collect();
                    data::check(&got, m, k, &oracle).map_err(|e| {
                        format!("WRONG: {m}x{k} n={n} algorithm {}: {e}", way.algorithm.id())
                    })?;
                }
            }
            let us = Summary::of(&samples).ok_or("nothing was timed")?;
            found.push(Timing {
                format: format_name(matrix.format).to_owned(),
                m,
                k,
                n,
                sparsity: matrix.sparsity,
                way,
                us: us.median,
                ..self.template.clone()
            });
        }
        let best = found.iter().map(|timing| timing.us).fold(f64::INFINITY, f64::min);
        self.done.extend(found.into_iter().filter(|timing| timing.us <= WORTH * best));
        Ok(())
    }
}
