//! Selection: a pure function from a problem and a device to a launch plan.
//!
//! No driver, no environment, no clock: every choice can be tested and printed anywhere.
#![forbid(unsafe_code)]

mod cache;
mod candidates;
mod choice;
pub mod convert;
mod kernels;
mod line;
pub mod model;
pub mod search;
pub mod table;
mod ways;

pub use cache::Cache;
pub use choice::{
    Algorithm, Choice, GroupShape, Planned, algorithms, gate_bytes, group, group_workspace_bytes,
};
pub use kernels::{Entry, Facts, Family, KernelId};
pub use ways::{Way, ways};

use candidates::{CLASSES, Candidate, candidates, stagings, width};
use line::Line;
use model::Law;
use table::Table;
use ways::splits;

use crate::error::{Error, Kind, Result};
use crate::format::Header;
use crate::types::{Format, checked_add, checked_mul};

/// Facts about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceProps {
    /// Streaming multiprocessors.
    pub sm_count: u32,
    /// Compute capability.
    pub cc: (u32, u32),
    /// Shared memory that a block may opt in to, bytes.
    pub smem_per_block_optin: u32,
    /// Shared memory of an SM, bytes.
    pub smem_per_sm: u32,
    /// L2 cache, bytes.
    pub l2_bytes: u64,
    /// Name.
    pub name: String,
}

/// How B lies in memory, as far as the kernels care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BAccess {
    /// K contiguous, 16-byte pieces aligned, K a multiple of 8: read where it is.
    Direct,
    /// Anything else: packed into the workspace first.
    Packed,
}

/// One product to plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Storage format of A.
    pub format: Format,
    /// Rows of A.
    pub m: u32,
    /// Columns of B.
    pub n: u32,
    /// Columns of A.
    pub k: u32,
    /// Columns of a block of A.
    pub block_cols: u32,
    /// Largest block of A (see [`Header::max_block`]).
    pub max_block: u32,
    /// Whether some rows have so many more non-zeros than others that tiles ought to be dealt by their bytes (SELL).
    pub uneven: bool,
    /// How B is read.
    pub b: BAccess,
}

impl Problem {
    /// The product of the matrix that `header` describes with `n` columns.
    #[inline(always)] // capi/spmm.rs says why.
    pub fn new(header: &Header, n: usize, b: BAccess) -> Result<Self> {
        let dim = |name: &str, v: u64| {
            u32::try_from(v).ok().filter(|&v| v <= i32::MAX as u32).ok_or_else(|| {
                Error::new(
                    Kind::SizeOverflow,
                    format!("SpMM: {name} = {v} is beyond the kernels' limit of {}", i32::MAX),
                )
            })
        };
        Ok(Self {
            format: header.format,
            m: dim("M", header.rows)?,
            n: dim("N", n as u64)?,
            k: dim("K", header.cols)?,
            block_cols: header.tile_cols,
            max_block: header.max_block,
            uneven: uneven(header),
            b,
        })
    }
}

/// Whether the largest block of a SELL matrix is a quarter larger than one of average rows would be: those of even rows are
/// within a few per cent.
fn uneven(header: &Header) -> bool {
    header.format == Format::Sell && header.fullest() > 1.25
}

/// Everything a launch needs but the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchPlan {
    /// The product's kernel.
    pub kernel: KernelId,
    /// CTAs along the stream-K line.
    pub ctas: u32,
    /// Slices of N, one row of the grid each.
    pub slices: u32,
    /// Threads of a CTA.
    pub threads: u32,
    /// Dynamic shared memory of a CTA, bytes.
    pub smem_bytes: u32,
    /// Staged blocks of A for each row tile, or each warp where it loads for itself; none of SELL.
    pub a_slots: u32,
    /// Shared memory of one staged block, bytes.
    pub slot_bytes: u32,
    /// Row tiles.
    pub row_tiles: u32,
    /// Row tiles that a CTA works on at a time.
    pub group_tiles: u32,
    /// Units along K.
    pub k_blocks: u32,
    /// Pieces into which a row group's units are cut to be dealt to the CTAs.
    pub parts: u32,
    /// Whether whole tiles are dealt by their bytes, and not row groups by their number.
    pub deals_tiles: bool,
    /// Whether two CTAs have every row group, and are launched as a cluster unless the product is one of a group.
    pub pairs: bool,
    /// Workspace offset of the fp32 partial tiles; the arrival counters come first.
    pub partials_offset: usize,
    /// Workspace offset of packed B.
    pub packed_offset: usize,
    /// Bytes of packed B, a multiple of [`WORKSPACE_ALIGN`]; 0 when B is read where it is.
    pub packed_bytes: usize,
    /// Bytes of workspace.
    pub workspace_bytes: usize,
}

impl LaunchPlan {
    /// Whether its launch may begin before the work ahead of it has ended, where the caller vouches for A: the kernel waits
    /// before it reads anything else.
    pub fn may_begin_early(&self) -> bool {
        self.kernel.is_for_hopper()
    }

    /// The algorithm with nothing left open.
    pub fn algorithm(&self) -> Algorithm {
        Algorithm { kernel: self.kernel, group_tiles: self.group_tiles, a_slots: self.a_slots }
    }
}

/// Alignment of the workspace and of every part of it.
pub const WORKSPACE_ALIGN: usize = 256;

/// `bytes` up to the next multiple of [`WORKSPACE_ALIGN`], or SIZE_OVERFLOW naming `what`.
pub fn checked_aligned(bytes: usize, what: &str) -> Result<usize> {
    checked_add(bytes, WORKSPACE_ALIGN - 1, what).map(|bytes| bytes & !(WORKSPACE_ALIGN - 1))
}

/// Rows of B that the staged kernels load at once.
pub const CHUNK_COLS: u32 = 256;

/// Bytes of workspace that are enough for this matrix and every product of up to `n` columns, wherever B lies.
pub fn workspace_bytes(props: &DeviceProps, header: &Header, n: usize) -> Result<usize> {
    // The kernel changes with N; the maximum over the classes below makes the size monotone.
    let mut bytes = 0;
    for class in [1, 8, 16, 24, 32, 48, 64, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, n]
    {
        let problem = Problem::new(header, class.min(n), BAccess::Packed)?;
        bytes = bytes.max(select(&problem, props)?.workspace_bytes);
    }
    Ok(bytes)
}

/// Chooses kernel, grid and workspace layout.
pub fn select(problem: &Problem, props: &DeviceProps) -> Result<LaunchPlan> {
    select_chosen(problem, props, &Choice::default())
}

/// Slices of N of a launch: CTAs of a grid along y.
const MOST_SLICES: u32 = 65_535;

/// Columns that every kernel multiplies in one launch: that of SELL has eight a slice.
pub const MOST_COLUMNS: usize = MOST_SLICES as usize * 8;

/// As [`select`], with what `choice` fixes.
pub fn select_chosen(
    problem: &Problem,
    props: &DeviceProps,
    choice: &Choice,
) -> Result<LaunchPlan> {
    let wanted = match width(problem, props) {
        // Few kernels take groups: those of 16 and of 64 columns.
        1 if choice.grouped && problem.format != Format::Sell => 2,
        3.. if choice.grouped => 8,
        wanted => wanted,
    };
    let estimates = Estimates::new(problem, props, wanted);
    // Fewer columns a CTA when the widest tile does not fit the device's shared memory. Times are of the same columns in a
    // class, whatever N is, so that the workspace grows with N.
    let mut widths = CLASSES
        .into_iter()
        .map(|class| class.iter().copied().filter(|&w| w <= wanted || choice.kernel.is_some()));
    let sms_of = |c: &Candidate| {
        c.ctas_at_a_time(props, c.slices(problem)).min(choice.max_ctas.unwrap_or(u32::MAX)).max(1)
    };
    let runs = |c: &Candidate| {
        let line = Line::new(c, problem);
        line.takes(choice.parts.map_or(1, |parts| parts.clamp(1, line.k_blocks)), sms_of(c))
    };
    let best = widths
        .find_map(|class| {
            class
                .flat_map(|n_tiles| candidates(problem, props, n_tiles))
                .filter(|c| choice.allows(c) && runs(c))
                .map(|c| (estimates.time(&c), c))
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, c)| c)
        })
        .ok_or_else(|| nothing_runs(problem, props, choice))?;

    let line = Line::new(&best, problem);
    let slices = best.slices(problem);
    check_limits(problem, &best, &line, slices)?;
    let sms = sms_of(&best);
    let parts = match choice.parts {
        Some(parts) => parts.clamp(1, line.k_blocks),
        None => estimates.best_parts(&best, &line, sms).0,
    };
    let ctas = line.ctas(parts, sms);
    let best = match line.tiles_by_bytes(parts) {
        // Where rows are uneven, a CTA may have more tiles than the average. Room for those at a time costs nothing.
        true if choice.group_tiles.is_none() => {
            let most = best.group_tiles.max(2 * line.row_tiles.div_ceil(ctas));
            let roomy = |c: &Candidate| c.group_tiles <= most && c.a_slots == best.a_slots;
            stagings(best.kernel, problem, props).filter(roomy).last().unwrap_or(best)
        }
        _ => best,
    };
    let workspace = Workspace::new(problem, props, choice, &best, &line, slices, ctas)?;
    Ok(LaunchPlan {
        kernel: best.kernel,
        ctas,
        slices,
        threads: best.threads(),
        smem_bytes: best.smem_bytes,
        a_slots: best.a_slots,
        slot_bytes: best.slot_bytes,
        row_tiles: line.row_tiles,
        group_tiles: best.group_tiles,
        k_blocks: line.k_blocks,
        parts,
        deals_tiles: line.tiles_by_bytes(parts),
        pairs: line.pairs(parts, sms),
        partials_offset: workspace.partials_offset,
        packed_offset: workspace.packed_offset,
        packed_bytes: workspace.packed_bytes,
        workspace_bytes: workspace.bytes,
    })
}

/// Why no kernel runs the product.
#[cold]
fn nothing_runs(problem: &Problem, props: &DeviceProps, choice: &Choice) -> Error {
    match choice.kernel {
        Some(kernel) => Error::new(
            Kind::NotSupported,
            format!(
                "algorithm {} does not multiply a {:?} matrix of this size with these blocks on {} (compute capability {}.{})",
                choice.algorithm(kernel).id(),
                problem.format,
                props.name,
                props.cc.0,
                props.cc.1
            ),
        ),
        None => Error::new(
            Kind::InsufficientResources,
            format!(
                "SpMM: the largest block of A needs more shared memory than the {} bytes of {} (compute capability {}.{})",
                props.smem_per_block_optin, props.name, props.cc.0, props.cc.1
            ),
        ),
    }
}

/// Refuses what a launch cannot count.
fn check_limits(problem: &Problem, best: &Candidate, line: &Line, slices: u32) -> Result<()> {
    // The kernels divide numbers below 2^29 (FlDivisor).
    let most = u64::from(u32::MAX / 8);
    if line.units() > most {
        return Err(Error::new(
            Kind::SizeOverflow,
            format!(
                "SpMM: M = {} and K = {} make {} groups of blocks, at most {most} are possible",
                problem.m,
                problem.k,
                line.units()
            ),
        ));
    }
    if slices > MOST_SLICES {
        return Err(Error::new(
            Kind::SizeOverflow,
            format!(
                "SpMM: N = {} is beyond the grid's limit of {}",
                problem.n,
                MOST_SLICES * best.kernel.facts().n_tiles * 8
            ),
        ));
    }
    Ok(())
}

/// Where what is in the workspace of a launch: counters first, then the sums of parts, then packed B.
struct Workspace {
    partials_offset: usize,
    packed_offset: usize,
    packed_bytes: usize,
    bytes: usize,
}

impl Workspace {
    fn new(
        problem: &Problem,
        props: &DeviceProps,
        choice: &Choice,
        best: &Candidate,
        line: &Line,
        slices: u32,
        ctas: u32,
    ) -> Result<Self> {
        let facts = best.kernel.facts();
        let align = |bytes: usize| checked_aligned(bytes, "workspace");
        let mul = |a: usize, b: usize| checked_mul(a, b, "workspace");
        let counters = mul(mul((line.groups * best.warps()) as usize, slices as usize)?, 8)?;
        let partials_offset = align(counters)?;
        // Two partial tiles a row tile (fl_streamk.cuh), tile_rows x 8 * n_tiles columns of fp32 each.
        let tile_bytes = (facts.tile_rows * 8 * 4 * facts.n_tiles) as usize;
        let partial_tiles = if facts.family.warps_roam() {
            // As many as any number of slices takes, so that the workspace grows with N.
            let ctas = choice.max_ctas.map_or(u32::MAX, |most| most.saturating_mul(slices));
            let ctas = ctas.min(props.sm_count.max(slices)) as usize;
            mul(ctas, 2 * facts.warps as usize)?
        } else {
            mul(slices as usize, 2 * (ctas * best.group_tiles) as usize)?
        };
        let partials = mul(partial_tiles, tile_bytes)?;
        let packed_offset = align(checked_add(partials_offset, partials, "workspace")?)?;
        let packed = |rows: u32, cols: u32| align(mul(mul(rows as usize, cols as usize)?, 2)?);
        let packed_bytes = match problem.b {
            _ if best.kernel.reads_planes() => {
                packed(line.k_blocks * CHUNK_COLS, slices * facts.n_tiles * 8)?
            }
            BAccess::Direct => 0,
            BAccess::Packed => packed(problem.k.next_multiple_of(8), problem.n)?,
        };
        let bytes = checked_add(packed_offset, packed_bytes, "workspace")?;
        Ok(Self { partials_offset, packed_offset, packed_bytes, bytes })
    }
}

/// Microseconds that the launch is estimated to take; `None` on a device that nobody has measured.
pub fn estimate(problem: &Problem, props: &DeviceProps, plan: &LaunchPlan) -> Option<f64> {
    let table = table::of_measured(&props.name)?;
    let law @ Law::Units(_) = (table.law)(plan.kernel) else {
        return None;
    };
    let c = stagings(plan.kernel, problem, props)
        .find(|c| (c.group_tiles, c.a_slots) == (plan.group_tiles, plan.a_slots))?;
    let sms = c.ctas_at_a_time(props, plan.slices).min(plan.ctas).max(1);
    let line = Line::new(&c, problem);
    Some(law.time(&c.features(&line, problem, props, plan.parts, sms, plan.slices)))
}

/// Microseconds that cuBLAS is estimated to take for the product with dense weights; `None` on a device that nobody has
/// measured, for more columns than were, and for smaller matrices.
pub fn dense_estimate(problem: &Problem, props: &DeviceProps) -> Option<f64> {
    table::of_measured(&props.name)?.dense?.time(problem.m, problem.n, problem.k)
}

/// Estimated times of candidates, each cut as is best for it.
struct Estimates<'a> {
    problem: &'a Problem,
    props: &'a DeviceProps,
    table: &'static Table,
    /// Columns over 8 that times are of.
    width: u32,
}

impl<'a> Estimates<'a> {
    fn new(problem: &'a Problem, props: &'a DeviceProps, width: u32) -> Self {
        Self { problem, props, table: table::of(&props.name), width }
    }

    /// Slices that the candidate makes of these columns.
    fn slices(&self, c: &Candidate) -> u32 {
        self.width.div_ceil(c.kernel.facts().n_tiles)
    }

    /// Into how many pieces row groups are best cut, and the time then.
    fn best_parts(&self, c: &Candidate, line: &Line, sms: u32) -> (u32, f64) {
        let slices = self.slices(c);
        let features = |parts| c.features(line, self.problem, self.props, parts, sms, slices);
        match (self.table.law)(c.kernel) {
            Law::Units(units) => splits(line, sms)
                .filter(|&parts| line.takes(parts, sms))
                .map(|parts| (parts, units.time(&features(parts))))
                .min_by(|a, b| a.1.total_cmp(&b.1))
                .unwrap_or((line.k_blocks, f64::INFINITY)),
            // The other laws do not know what adding up costs.
            law => (line.k_blocks, law.time(&features(line.k_blocks))),
        }
    }

    fn time(&self, c: &Candidate) -> f64 {
        let sms = c.ctas_at_a_time(self.props, self.slices(c));
        self.best_parts(c, &Line::new(c, self.problem), sms).1
    }
}

#[cfg(test)]
#[path = "../../tests/support/devices.rs"]
mod devices;
#[cfg(test)]
#[path = "../../tests/support/headers.rs"]
mod headers;
#[cfg(test)]
use crate::{format::header::tile, types::DType};

/// The header of a matrix as the tests of this module plan it.
#[cfg(test)]
fn header(format: Format, rows: u64, cols: u64) -> Header {
    headers::header_of(format, (rows, cols), if format == Format::TiledCsl { 1800 } else { 43 })
}

#[cfg(test)]
mod tests {
    use super::devices::{device, h100};
    use super::*;

    fn problem(format: Format, m: u32, n: u32, k: u32, max_block: u32) -> Problem {
        let block_cols = header(format, 1, 1).tile_cols;
        Problem { format, m, n, k, block_cols, max_block, uneven: false, b: BAccess::Direct }
    }

    #[test]
    fn estimates_say_where_dense_weights_are_faster_and_nothing_of_devices_that_nobody_measured() {
        let of = |name: &str, cc, m, k, n| {
            let props = DeviceProps { name: name.into(), cc, ..h100() };
            // The large one has 80 % zeros, the others 50.
            let max_block = if m > 20_000 { 43 } else { 89 };
            let problem = problem(Format::Slots, m, n, k, max_block);
            let plan = select(&problem, &props).unwrap();
            (estimate(&problem, &props, &plan), dense_estimate(&problem, &props))
        };
        for table in table::TABLES {
            let name = table.device;
            let (Some(time), Some(dense)) = of(name, (9, 0), 28_672, 7168, 16) else {
                panic!("{name} was measured");
            };
            assert!(
                (35.0..65.0).contains(&time) && (90.0..160.0).contains(&dense),
                "{time} {dense}"
            );
            let (time, small) = of(name, (9, 0), 1024, 1024, 16);
            assert!(time.is_some() && small.is_none());
            let columns = table.dense.unwrap().wide.map_or(64, |wide| wide.columns);
            let (time, wide) = of(name, (9, 0), 28_672, 7168, columns);
            assert!(time.is_some() && wide >= Some(dense));
            let (time, wider) = of(name, (9, 0), 28_672, 7168, columns + 1);
            assert!(time.is_some() && wider.is_none());
        }
        let (time, dense) = of(table::TABLES[1].device, (9, 0), 4096, 4096, 64);
        assert!(time > dense && dense.is_some(), "{time:?} {dense:?}");
        assert_eq!(of("a device that nobody has measured", (9, 0), 4096, 4096, 16), (None, None));
        // Its table has relative times for kernels of older devices.
        assert_eq!(of(table::TABLES[0].device, (8, 0), 4096, 4096, 16).0, None);
    }

    #[test]
    fn the_workspace_grows_with_n_across_all_widths_of_banked() {
        let header = header(Format::Banked, 5121, 12_801);
        for sm_count in [70, 132] {
            let props = DeviceProps { sm_count, ..h100() };
            let bytes = |n| workspace_bytes(&props, &header, n).unwrap();
            assert!((1..800).all(|n| bytes(n) <= bytes(n + 1)));
        }
    }

    #[test]
    fn the_estimate_of_a_choice_is_what_it_was_chosen_by() {
        let props = DeviceProps { name: table::TABLES[1].device.into(), ..h100() };
        for format in [Format::Bitmap, Format::Slots, Format::Banked] {
            for (m, k) in [(28_672, 7168), (4096, 4096), (1000, 1032)] {
                for n in [1, 8, 16, 32, 64] {
                    let problem = problem(format, m, n, k, 43);
                    let plan = select(&problem, &props).unwrap();
                    let own = estimate(&problem, &props, &plan).unwrap();
                    // No way to run it that the plan could have taken is estimated to be faster.
                    for way in ways(&problem, &props) {
                        let choice = Choice {
                            parts: Some(way.parts),
                            ..Choice::default().force(way.algorithm)
                        };
                        let other = select_chosen(&problem, &props, &choice).unwrap();
                        let time = estimate(&problem, &props, &other).unwrap();
                        assert!(
                            time >= own * 0.999,
                            "{format:?} {m}x{k} {n}: {other:?} {time} < {own}"
                        );
                    }
                }
            }
        }
    }

    fn devices() -> Vec<DeviceProps> {
        let ampere = device("A100", 108, (8, 0), (166_912, 167_936));
        let ada = device("RTX 4090", 128, (8, 9), (101_376, 102_400));
        let blackwell = DeviceProps { sm_count: 148, cc: (10, 0), ..h100() };
        vec![h100(), ampere, ada, blackwell]
    }

    #[test]
    fn every_problem_gets_a_plan_that_fits_the_device() {
        for props in devices() {
            for format in Format::ALL {
                for (m, k) in [(1, 1), (33, 300), (4096, 4096), (28672, 7168), (128, 49152)] {
                    for n in [1, 7, 8, 9, 16, 17, 33, 64, 65, 100, 1000] {
                        for max_block in [8, 40, 80, 136] {
                            let max_block =
                                if format == Format::TiledCsl { max_block * 60 } else { max_block };
                            let plan =
                                select(&problem(format, m, n, k, max_block), &props).unwrap();
                            assert!(plan.smem_bytes <= props.smem_per_block_optin);
                            assert!(plan.kernel.runs_on(props.cc));
                            let facts = plan.kernel.facts();
                            assert!(plan.slices * facts.n_tiles * 8 >= n);
                            assert!(plan.ctas >= 1);
                            assert!(
                                u64::from(plan.ctas)
                                    <= u64::from(plan.row_tiles.div_ceil(plan.group_tiles))
                                        * u64::from(plan.k_blocks)
                            );
                            assert_eq!(plan.workspace_bytes % WORKSPACE_ALIGN, 0);
                            assert!(
                                plan.partials_offset <= plan.packed_offset
                                    && plan.packed_offset <= plan.workspace_bytes
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn slots_of_17_to_24_columns_have_a_kernel_of_their_own_on_hopper() {
        let tiles = |format, n| {
            let plan = select(&problem(format, 7168, n, 7168, 43), &h100()).unwrap();
            (plan.kernel.facts().n_tiles, plan.slices)
        };
        for (n, wanted) in [(16, 2), (17, 3), (24, 3), (25, 4), (32, 4)] {
            assert_eq!(tiles(Format::Slots, n), (wanted, 1), "{n} columns");
        }
        assert_eq!(tiles(Format::Bitmap, 24), (4, 1));
        let ampere = DeviceProps { cc: (8, 0), ..h100() };
        let plan = select(&problem(Format::Slots, 7168, 24, 7168, 43), &ampere).unwrap();
        assert_eq!(plan.kernel, KernelId::SlotsN4Sm80);
    }

    #[test]
    fn two_ctas_that_share_every_row_group_are_pairs() {
        let forced = |format, kernel, m, parts, max_ctas| {
            let choice = Choice {
                kernel: Some(kernel),
                group_tiles: Some(2),
                parts: Some(parts),
                max_ctas,
                ..Choice::default()
            };
            select_chosen(&problem(format, m, 64, 4096, 90), &h100(), &choice).unwrap()
        };
        let banked = |m, parts, max_ctas| {
            forced(Format::Banked, KernelId::BankedN8Sm90, m, parts, max_ctas).pairs
        };
        assert!(banked(4096, 2, None));
        // Of an odd number of tiles the last row group is smaller; of 66 row groups all 132 multiprocessors have one.
        assert!(banked(4000, 2, None) && banked(66 * 128, 2, None));
        assert!(!banked(67 * 128, 2, None) && !banked(4096, 2, Some(63)));
        assert!(!banked(4096, 1, None) && !banked(4096, 3, None));
        let slots =
            |m, max_ctas| forced(Format::Slots, KernelId::SlotsN8Sm90, m, 2, max_ctas).pairs;
        assert!(slots(66 * 64, None) && !slots(67 * 64, None) && !slots(4096, Some(127)));
        let sell = forced(Format::Sell, KernelId::SellN1Sm90, 2048, 2, None);
        assert!(!sell.pairs);
    }

    #[test]
    fn uneven_rows_of_sell_are_dealt_by_bytes_where_rows_stay_whole() {
        let even = problem(Format::Sell, 28672, 8, 7168, 400);
        let plan = select(&even, &h100()).unwrap();
        assert!(!plan.deals_tiles);
        assert_eq!((plan.parts, plan.group_tiles, plan.ctas), (1, 7, 128));
        let plan = select(&Problem { uneven: true, ..even }, &h100()).unwrap();
        // All multiprocessors, and room for twice the tiles that they have on average.
        assert!(plan.deals_tiles);
        assert_eq!((plan.parts, plan.group_tiles, plan.ctas), (1, 14, 132));
        // Few rows are cut along K, whatever they are.
        let few = Problem { uneven: true, ..problem(Format::Sell, 1024, 8, 28672, 400) };
        let plan = select(&few, &h100()).unwrap();
        assert!(plan.parts > 1 && !plan.deals_tiles, "{plan:?}");
    }

    #[test]
    fn a_group_is_uneven_if_a_matrix_of_it_is() {
        let dense = |rows: u64, units: u64| Header {
            data_bytes: rows / 32 * units * u64::from(candidates::UNIT_BYTES),
            max_block: units as u32 + 10,
            ..header(Format::Sell, rows, 2048)
        };
        let of = |rows| dense(rows, 300);
        let both = |first: Header, second: Header| {
            let mut shape = GroupShape::of(&first, 8);
            shape.add(&second, 8).unwrap();
            group(&h100(), &shape, 1).unwrap().deals_tiles
        };
        let deals = |first: u64, second: u64| both(of(first), of(second));
        assert!(!deals(28672, 28672));
        assert!(!deals(32, 28672) && !deals(28672, 32));
        let (full, thin) = (of(28672), dense(28672, 100));
        assert!(!both(full, thin) && !both(thin, full));
        let one = Header { max_block: 600, ..of(28672) };
        assert!(both(one, full) && both(full, one));
        assert!(group(&h100(), &GroupShape::batch(&one, 8, 2), 1).unwrap().deals_tiles);
    }

    #[test]
    fn rows_are_uneven_where_the_largest_block_says_so() {
        let with = |format, cols: u64, max_block, units: u64| {
            let data_bytes = units * u64::from(candidates::UNIT_BYTES);
            uneven(&Header { data_bytes, max_block, ..header(format, 3200, cols) })
        };
        // 100 tiles of three blocks and a half, of 200 units each.
        assert!(!with(Format::Sell, 7168, 206, 70_000));
        assert!(!with(Format::Sell, 7168, 249, 70_000));
        assert!(with(Format::Sell, 7168, 251, 70_000));
        assert!(with(Format::Sell, 100, 260, 20_000));
        assert!(!with(Format::Banked, 7168, 500, 70_000));
    }

    #[test]
    fn hopper_kernels_are_chosen_on_hopper_alone() {
        for props in devices() {
            let plan = select(&problem(Format::Bitmap, 4096, 16, 4096, 40), &props).unwrap();
            assert_eq!(plan.kernel.is_for_hopper(), props.cc == (9, 0));
            let plan = select(&problem(Format::Slots, 4096, 16, 4096, 40), &props).unwrap();
            assert_eq!(plan.kernel.facts().family == Family::SlotsSm90, props.cc == (9, 0));
            let plan = select(&problem(Format::TiledCsl, 4096, 16, 4096, 1700), &props).unwrap();
            assert_eq!(plan.kernel.facts().family == Family::TiledCslSm90, props.cc == (9, 0));
        }
    }

    #[test]
    fn a_block_too_large_for_the_device_is_refused() {
        let mut props = h100();
        props.smem_per_block_optin = 32 << 10;
        let error = select(&problem(Format::Bitmap, 4096, 16, 4096, 500), &props).unwrap_err();
        assert_eq!(error.kind(), Kind::InsufficientResources);
    }

    #[test]
    fn kernel_ids_are_listed_in_order() {
        for (i, &id) in KernelId::ALL.iter().enumerate() {
            assert_eq!(id as usize, i);
        }
    }
}
