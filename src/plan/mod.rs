//! Selection: a pure function from a problem and a device to a launch plan.
//!
//! No driver, no environment, no clock: every choice can be tested and printed anywhere.
#![forbid(unsafe_code)]

mod cache;
mod choice;
pub mod convert;
mod kernels;
pub mod model;
pub mod search;
pub mod table;

pub use cache::Cache;
pub use choice::{
    Algorithm, Choice, GroupShape, Planned, algorithms, gate_bytes, group, group_workspace_bytes,
};
pub use kernels::{Facts, Family, KernelId};

use model::{Features, Law};
use table::Table;

use crate::error::{Error, Kind, Result};
use crate::format::{Header, slots};
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
                    Kind::NotSupported,
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
/// within a few per cent. Only the last blocks along K may have fewer columns than the others.
fn uneven(header: &Header) -> bool {
    if header.format != Format::Sell || header.cols == 0 || header.tile_rows == 0 {
        return false;
    }
    let tiles = header.rows.div_ceil(u64::from(header.tile_rows)).max(1) as f64;
    let share = f64::from(header.tile_cols).min(header.cols as f64) / header.cols as f64;
    let average = header.data_bytes as f64 / f64::from(UNIT_BYTES) / tiles * share;
    f64::from(header.max_block) > 1.25 * average
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
    /// Staged blocks of A a warp (Slots: a row tile).
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
/// Bytes of a unit of a block.
const UNIT_BYTES: u32 = 128;
/// Shared memory for the sums of a tile of Banked or Bitmap, which lie in the slot of a block.
const FRAGMENT_SUMS_BYTES: u32 = 4 * 2048;
/// Shared memory of a warp for a round of overflow of Slots.
const ROUND_TILE_BYTES: u32 = 1024;
/// Shared memory that the driver keeps for itself in every CTA.
const RESERVED_SMEM: u32 = 1024;

struct Candidate {
    kernel: KernelId,
    group_tiles: u32,
    a_slots: u32,
    slot_bytes: u32,
    smem_bytes: u32,
    ctas_per_sm: u32,
}

impl Candidate {
    /// Warps of a CTA that sum something.
    fn warps(&self) -> u32 {
        self.group_tiles * self.kernel.facts().warps_a_tile
    }

    /// Threads of a CTA.
    fn threads(&self) -> u32 {
        let facts = self.kernel.facts();
        let warps = if facts.family.warps_roam() {
            facts.warps
        } else {
            self.warps() * self.kernel.k_slices(self.group_tiles)
        };
        32 * (warps + facts.loaders)
    }

    /// CTAs along the line of units that run at a time.
    fn ctas_at_a_time(&self, props: &DeviceProps, slices: u32) -> u32 {
        ctas_of_a_slice(self.kernel, props.sm_count * self.ctas_per_sm, slices)
    }

    /// Slices of N.
    fn slices(&self, problem: &Problem) -> u32 {
        self.kernel.facts().slices(problem.n)
    }

    /// What its time depends on.
    fn features(
        &self,
        line: &Line,
        problem: &Problem,
        props: &DeviceProps,
        parts: u32,
        sms: u32,
        slices: u32,
    ) -> Features {
        let unit_bytes = if problem.format == Format::TiledCsl { 4 } else { UNIT_BYTES };
        Features {
            kernel: self.kernel,
            group_tiles: line.tiles_at_a_time(parts, sms),
            a_slots: self.a_slots,
            slot_bytes: self.slot_bytes,
            max_block: problem.max_block,
            block_bytes: problem.max_block.saturating_mul(unit_bytes),
            busiest: line.busiest(parts, sms),
            fair: line.fair(fair_slices(self.kernel, slices), props.sm_count),
            together: line.ctas(parts, sms).saturating_mul(slices).div_ceil(props.sm_count.max(1)),
            cut: line.cuts(parts, sms),
            owners: line.owners(parts, sms),
        }
    }
}

/// Bytes of workspace that are enough for this matrix and every product of up to `n` columns, wherever B lies.
pub fn workspace_bytes(props: &DeviceProps, header: &Header, n: usize) -> Result<usize> {
    // The kernel changes with N; the maximum over the classes below makes the size monotone.
    let mut bytes = 0;
    for class in [1, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 448, 512, n] {
        let problem = Problem::new(header, class.min(n), BAccess::Packed)?;
        bytes = bytes.max(select(&problem, props)?.workspace_bytes);
    }
    Ok(bytes)
}

/// Chooses kernel, grid and workspace layout.
pub fn select(problem: &Problem, props: &DeviceProps) -> Result<LaunchPlan> {
    select_chosen(problem, props, &Choice::default())
}

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
        .ok_or_else(|| match choice.kernel {
            Some(kernel) => Error::new(
                Kind::NotSupported,
                format!(
                    "algorithm {} does not multiply a {:?} matrix of this size with these blocks on {} (compute capability {}.{})",
                    choice.algorithm(kernel).id(), problem.format, props.name, props.cc.0, props.cc.1
                ),
            ),
            None => Error::new(
                Kind::InsufficientResources,
                format!(
                    "SpMM: the largest block of A needs more shared memory than the {} bytes of {} (compute capability {}.{})",
                    props.smem_per_block_optin, props.name, props.cc.0, props.cc.1
                ),
            ),
        })?;

    let facts = best.kernel.facts();
    let line = Line::new(&best, problem);
    // The kernels divide numbers below 2^29 (FlDivisor).
    if line.units() > u64::from(u32::MAX / 8) {
        return Err(Error::new(
            Kind::NotSupported,
            format!(
                "SpMM: M = {} and K = {} make more blocks than the kernels count",
                problem.m, problem.k
            ),
        ));
    }
    let slices = best.slices(problem);
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
    if slices > 65_535 {
        return Err(Error::new(
            Kind::NotSupported,
            format!(
                "SpMM: N = {} is beyond the grid's limit of {}",
                problem.n,
                65_535 * facts.n_tiles * 8
            ),
        ));
    }

    let align = |bytes: usize| checked_aligned(bytes, "workspace");
    let counters = checked_mul(
        checked_mul((line.groups * best.warps()) as usize, slices as usize, "workspace")?,
        8,
        "workspace",
    )?;
    let partials_offset = align(counters)?;
    // Two partial tiles a row tile (fl_streamk.cuh), tile_rows x 8 * n_tiles columns of fp32 each.
    let tile_bytes = (facts.tile_rows * 8 * 4 * facts.n_tiles) as usize;
    let partial_tiles = if facts.family.warps_roam() {
        // As many as any number of slices takes, so that the workspace grows with N.
        let ctas = choice.max_ctas.map_or(u32::MAX, |most| most.saturating_mul(slices));
        let ctas = ctas.min(props.sm_count.max(slices)) as usize;
        checked_mul(ctas, 2 * facts.warps as usize, "workspace")?
    } else {
        checked_mul(slices as usize, 2 * (ctas * best.group_tiles) as usize, "workspace")?
    };
    let packed_offset = align(checked_add(
        partials_offset,
        checked_mul(partial_tiles, tile_bytes, "workspace")?,
        "workspace",
    )?)?;
    let packed = |rows: u32, cols: u32| {
        let elements = checked_mul(rows as usize, cols as usize, "workspace")?;
        align(checked_mul(elements, 2, "workspace")?)
    };
    let packed_bytes = match problem.b {
        _ if best.kernel.reads_planes() => {
            packed(line.k_blocks * CHUNK_COLS, slices * facts.n_tiles * 8)?
        }
        BAccess::Direct => 0,
        BAccess::Packed => packed(problem.k.next_multiple_of(8), problem.n)?,
    };
    let workspace_bytes = checked_add(packed_offset, packed_bytes, "workspace")?;

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
        partials_offset,
        packed_offset,
        packed_bytes,
        workspace_bytes,
    })
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

/// The stream-K line of a kernel (fl_streamk.cuh).
struct Line {
    row_tiles: u32,
    group_tiles: u32,
    groups: u32,
    k_blocks: u32,
    /// Whether whole rows are dealt a tile at a time, by their bytes, and not a row group at a time.
    deals_tiles: bool,
    /// Whether the warps of a tile end a part of it together, so that nothing else goes on meanwhile.
    ends_together: bool,
    /// Whether two CTAs that share a row group can be a cluster.
    takes_pairs: bool,
    /// Whether a CTA can have one piece only.
    one_piece: bool,
}

impl Line {
    fn new(candidate: &Candidate, problem: &Problem) -> Self {
        let Problem { m, k, block_cols, uneven, .. } = *problem;
        let line = Self::of(candidate.kernel, candidate.group_tiles, m, k, block_cols);
        Self { deals_tiles: uneven && candidate.kernel.facts().family.warps_roam(), ..line }
    }

    fn of(kernel: KernelId, group_tiles: u32, m: u32, k: u32, block_cols: u32) -> Self {
        let facts = kernel.facts();
        let unit_cols = match facts.family {
            Family::TiledCslSm90 => CHUNK_COLS,
            _ => block_cols,
        };
        let row_tiles = m.div_ceil(facts.tile_rows);
        Self {
            row_tiles,
            group_tiles,
            groups: row_tiles.div_ceil(group_tiles),
            k_blocks: k.div_ceil(unit_cols),
            deals_tiles: false,
            // With fewer columns one of the warps counts parts for the others.
            ends_together: facts.family.is_fragments() && facts.n_tiles >= 12,
            takes_pairs: kernel.takes_pairs(),
            one_piece: facts.family.is_sliced(),
        }
    }

    /// Whether so many CTAs at a time can be dealt row groups of so many pieces.
    fn takes(&self, parts: u32, sms: u32) -> bool {
        !self.one_piece || u64::from(self.groups) * u64::from(parts) <= u64::from(sms)
    }

    /// Whether CTAs have whole tiles, as many as have about the same bytes.
    fn tiles_by_bytes(&self, parts: u32) -> bool {
        self.deals_tiles && parts == 1
    }

    /// Where tiles are dealt by bytes: those of a CTA if all have alike, and in how many turns it takes them.
    fn dealt(&self, sms: u32) -> (u32, u32) {
        let tiles = self.row_tiles.div_ceil(self.ctas(1, sms).max(1));
        (tiles, tiles.div_ceil(self.group_tiles))
    }

    /// Row tiles that a CTA works on at a time.
    fn tiles_at_a_time(&self, parts: u32, sms: u32) -> u32 {
        if !self.tiles_by_bytes(parts) {
            return self.group_tiles;
        }
        let (tiles, turns) = self.dealt(sms);
        tiles.div_ceil(turns.max(1))
    }

    /// What a multiprocessor has to do if all have alike.
    fn fair(&self, slices: u32, sms: u32) -> u64 {
        (self.units() * u64::from(slices)).div_ceil(u64::from(sms.max(1)))
    }

    fn units(&self) -> u64 {
        u64::from(self.groups) * u64::from(self.k_blocks)
    }

    fn ctas(&self, parts: u32, sms: u32) -> u32 {
        if self.tiles_by_bytes(parts) {
            return sms.min(self.row_tiles);
        }
        u32::try_from(u64::from(sms).min(u64::from(self.groups) * u64::from(parts))).unwrap_or(sms)
    }

    /// Units of the CTA that has most.
    fn busiest(&self, parts: u32, sms: u32) -> u64 {
        if self.tiles_by_bytes(parts) {
            return u64::from(self.dealt(sms).1) * u64::from(self.k_blocks);
        }
        let pieces = u64::from(self.groups) * u64::from(parts);
        let most = pieces.div_ceil(u64::from(self.ctas(parts, sms)));
        // Whole groups of pieces have k_blocks units, what is left at most the ceiling of its share.
        let (whole, rest) = (most / u64::from(parts), most % u64::from(parts));
        whole * u64::from(self.k_blocks)
            + (rest * u64::from(self.k_blocks)).div_ceil(u64::from(parts))
    }

    /// CTAs that have units of one row group, at most.
    fn owners(&self, parts: u32, sms: u32) -> u32 {
        if self.pairs(parts, sms) {
            return 2;
        } else if self.cuts(parts, sms) == 0 {
            return 1;
        }
        let ctas = self.ctas(parts, sms);
        (ctas.div_ceil(self.groups.max(1)) + u32::from(ctas % self.groups.max(1) != 0)).min(parts)
    }

    /// Whether two CTAs that are a cluster have every row group.
    fn pairs(&self, parts: u32, sms: u32) -> bool {
        self.takes_pairs && parts == 2 && u64::from(sms) >= 2 * u64::from(self.groups)
    }

    /// Parts of cut row groups that a CTA waits for, at most.
    fn cuts(&self, parts: u32, sms: u32) -> u32 {
        if self.tiles_by_bytes(parts) || self.pairs(parts, sms) {
            return 0;
        }
        let pieces = u64::from(self.groups) * u64::from(parts);
        let ctas = u64::from(self.ctas(parts, sms));
        let each = pieces / ctas;
        if pieces % ctas == 0 && each % u64::from(parts) == 0 {
            0
        } else if pieces % ctas == 0 && u64::from(parts) % each == 0
            || self.busiest(parts, sms) >= model::LONG && !self.ends_together
        {
            1
        } else {
            2
        }
    }
}

/// Columns of SELL up to which the Hopper kernels hold where every slice of a row group is.
const SELL_COLS: u32 = 256 * 2048;

/// Columns over 8 of the kernels that are compared: what 256 or fewer columns of one CTA take, and 128 twice.
const CLASSES: [&[u32]; 6] = [&[32, 24, 20, 16, 12, 8], &[6], &[4], &[3], &[2], &[1]];

/// Columns over 8 of the kernels that a product is for.
fn width(problem: &Problem, props: &DeviceProps) -> u32 {
    let hopper = is_hopper(props);
    let (slots, fragments, widest) = match problem.format {
        Format::Banked | Format::Bitmap => (false, hopper, if hopper { 32 } else { 16 }),
        Format::Sell => (false, false, 1),
        Format::Slots => (hopper, false, 8),
        Format::TiledCsl => (false, false, 8),
    };
    match problem.n.div_ceil(8) {
        3 if slots => 3,
        5 | 6 if slots || fragments => 6,
        9..=12 if fragments => 12,
        17..=20 if fragments => 20,
        21..=24 if fragments => 24,
        // Which of them makes the best slices depends on how many columns are left for the last one, but less and less.
        eights @ 33.. if fragments => eights.next_multiple_of(8).min(64),
        eights => eights.next_power_of_two().min(widest),
    }
}

/// Pieces of a row group that are worth trying. One piece a unit spreads the work most evenly; fewer may leave
/// row groups whole, which saves adding up their parts.
fn splits(line: &Line) -> impl Iterator<Item = u32> {
    let most = line.k_blocks;
    [1, 2, 3, 4].into_iter().filter(move |&parts| parts < most).chain([most])
}

/// A way to run a product: what a tuning program measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Kernel, row tiles of a CTA and staged blocks.
    pub algorithm: Algorithm,
    /// Pieces of a row group.
    pub parts: u32,
    /// What its time depends on.
    pub features: Features,
}

impl Algorithm {
    /// [`Features::fair`] of a product with blocks of `block_cols` columns, on a device of so many multiprocessors.
    pub fn fair(&self, m: u32, n: u32, k: u32, block_cols: u32, sms: u32) -> u64 {
        let line = Line::of(self.kernel, self.group_tiles, m, k, block_cols);
        let slices = self.kernel.facts().slices(n);
        line.fair(fair_slices(self.kernel, slices), sms)
    }

    /// [`Features::owners`] of one whose row groups are cut into `parts`.
    pub fn owners(&self, (m, n, k): (u32, u32, u32), block_cols: u32, parts: u32, sms: u32) -> u32 {
        let line = Line::of(self.kernel, self.group_tiles, m, k, block_cols);
        line.owners(parts, ctas_of_a_slice(self.kernel, sms, self.kernel.facts().slices(n)))
    }
}

/// Every way to run a product with the kernels of its width, or of the widest that there are, each once: splits that deal
/// the work alike are one.
pub fn ways(problem: &Problem, props: &DeviceProps) -> Vec<Way> {
    ways_of(problem, props, &Choice::default())
}

/// As [`ways`], those that have what `choice` fixes of the algorithm and the splits.
fn ways_of(problem: &Problem, props: &DeviceProps, choice: &Choice) -> Vec<Way> {
    let mut found: Vec<Way> = Vec::new();
    let wanted = width(problem, props);
    let candidates = CLASSES.into_iter().find_map(|class| {
        let fits = |n_tiles: &u32| *n_tiles <= wanted || choice.kernel.is_some();
        let widths = class.iter().copied().filter(fits);
        let of_class: Vec<_> = widths
            .flat_map(|n| candidates(problem, props, n))
            .filter(|c| choice.allows(c))
            .collect();
        Some(of_class).filter(|of_class| !of_class.is_empty())
    });
    for c in candidates.into_iter().flatten() {
        let line = Line::new(&c, problem);
        let algorithm =
            Algorithm { kernel: c.kernel, group_tiles: c.group_tiles, a_slots: c.a_slots };
        let fixed = choice.parts.map(|parts| parts.clamp(1, line.k_blocks));
        let free = fixed.is_none().then(|| splits(&line));
        for parts in fixed.into_iter().chain(free.into_iter().flatten()) {
            let slices = c.slices(problem);
            let sms = c.ctas_at_a_time(props, slices);
            if !line.takes(parts, sms) {
                continue;
            }
            let features = c.features(&line, problem, props, parts, sms, slices);
            if !found.iter().any(|w| w.algorithm == algorithm && w.features == features) {
                found.push(Way { algorithm, parts, features });
            }
        }
    }
    found
}

/// Of so many CTAs those that have a slice of N, one of so many.
fn ctas_of_a_slice(kernel: KernelId, ctas: u32, slices: u32) -> u32 {
    if kernel.facts().family.slices_share_a() { (ctas / slices.max(1)).max(1) } else { ctas }
}

/// How often A comes from memory for so many slices.
fn fair_slices(kernel: KernelId, slices: u32) -> u32 {
    if kernel.facts().family.slices_share_a() { 1 } else { slices }
}

/// Every way to run the product with `n_tiles` that fits the device. Lazy: planning is part of a compute call,
/// which allocates nothing.
fn candidates<'a>(
    problem: &'a Problem,
    props: &'a DeviceProps,
    n_tiles: u32,
) -> impl Iterator<Item = Candidate> + 'a {
    KernelId::ALL
        .iter()
        .copied()
        .filter(move |kernel| serves(*kernel, problem, props, n_tiles))
        .flat_map(|kernel| stagings(kernel, problem, props))
}

/// Whether the device runs the Hopper kernels.
fn is_hopper(props: &DeviceProps) -> bool {
    KernelId::BitmapN1Sm90.runs_on(props.cc)
}

/// Whether the kernel is for this format, this width and this device.
fn serves(kernel: KernelId, problem: &Problem, props: &DeviceProps, n_tiles: u32) -> bool {
    let facts = kernel.facts();
    let hopper = is_hopper(props);
    let wanted = match (problem.format, facts.family) {
        (Format::Bitmap, Family::BitmapSm90 | Family::BitmapSlicedSm90)
        | (Format::TiledCsl, Family::TiledCslSm90)
        | (Format::Slots, Family::SlotsSm90)
        | (Format::Banked, Family::BankedSm90 | Family::BankedSlicedSm90) => true,
        (Format::Sell, Family::SellSm90) => problem.k <= SELL_COLS,
        (Format::Bitmap, Family::BitmapSm80)
        | (Format::Slots, Family::SlotsSm80)
        | (Format::Banked, Family::BankedSm80) => !hopper,
        (Format::Sell, Family::SellSm80) => !hopper || problem.k > SELL_COLS,
        // A warp of the Hopper kernels holds 128 rows: beyond 16 columns the accumulators would not fit.
        (Format::TiledCsl, Family::TiledCslSm80) => n_tiles > 2 || !hopper,
        _ => false,
    };
    wanted && facts.n_tiles == n_tiles && kernel.runs_on(props.cc)
}

/// The kernel with each number of staged blocks that fits the device's shared memory.
fn stagings<'a>(
    kernel: KernelId,
    problem: &'a Problem,
    props: &'a DeviceProps,
) -> impl Iterator<Item = Candidate> + 'a {
    let facts = kernel.facts();
    let rows = facts.n_tiles * 8;
    let k_blocks = problem.k.div_ceil(problem.block_cols.max(1));
    let most_tiles = facts.warps / facts.warps_a_tile;
    // Row tiles of a CTA. Where registers change hands between warpgroups, two have the warps of one.
    let (fewest_tiles, step) = match facts.family {
        Family::SlotsSm90 if facts.n_tiles >= 3 => (2, 2),
        Family::SlotsSm90 | Family::SellSm90 => (1, 1),
        family if family.is_fragments() => (1, 1),
        _ => (most_tiles, 1),
    };
    let tiles = (fewest_tiles..=most_tiles).step_by(step);
    // Kernels of Slots read up to two rows behind a block's values, the first of which is overflow if the block is so large.
    let behind = if problem.max_block > slots::MOST_WITHOUT_OVERFLOW { 1 } else { 2 };
    let slots_bytes = (problem.max_block + behind) * UNIT_BYTES;
    // Values of Bitmap are loaded up to two rows behind a lane's last.
    let fragments_behind = if problem.format == Format::Bitmap { 2 } else { 0 };
    let fragment_bytes = (problem.max_block + fragments_behind) * UNIT_BYTES;
    let piece_bytes = rows * 128 * 2;
    let (fixed, slot_bytes, max_slots) = match facts.family {
        Family::SlotsSm80 => {
            (rows * (2 * CHUNK_COLS * 2 + 16) + facts.warps * ROUND_TILE_BYTES, slots_bytes, 2)
        }
        Family::TiledCslSm90 => {
            let tile = 128 * 64 * 2;
            (
                1024 + 2 * rows * (CHUNK_COLS * 2 + 16) + facts.warps * tile,
                problem.max_block.max(4) * 4,
                4,
            )
        }
        // The ring of B and, where it is wide and not packed, that of B as it comes; each warp has scratch for overflow and for
        // the sums that two warps of a tile exchange.
        Family::SlotsSm90 => {
            let (stages, raw) = match facts.n_tiles {
                _ if kernel.reads_planes() => (2, 0),
                3.. => (2, 4),
                _ => (3, 0),
            };
            let rings = stages * rows * CHUNK_COLS * 2 + raw * rows * (128 * 2 + 16);
            (1024 + rings, slots_bytes, 3)
        }
        // What aligns the rest, barriers, and the ring of B.
        family if family.is_fragments() => {
            let pieces = match facts.n_tiles {
                _ if family.is_sliced() => 0,
                24.. => 2,
                12.. => 3,
                _ => 4,
            };
            let slot_bytes = fragment_bytes.max(FRAGMENT_SUMS_BYTES);
            (2048 + pieces * piece_bytes, slot_bytes, 4)
        }
        // Barriers, B of two blocks of K twice, two packets a warp, and two barriers a block of K; what aligns B.
        Family::SellSm90 => {
            (1024 + 128 + (128 << 10) + facts.warps * 2 * 1408 + 16 * k_blocks, 0, 0)
        }
        // B, and the sums of a tile.
        Family::SellSm80 => ((32 << 10) + 1024, 0, 0),
        Family::BankedSm80 | Family::BitmapSm80 => (2 * rows * (128 * 2 + 16), fragment_bytes, 2),
        _ => (2 * 128 * 64 * 2 + 2 * rows * (64 * 2 + 16), 0, 0),
    };
    let stagings = max_slots.min(1)..=max_slots;
    tiles.flat_map(move |tiles| stagings.clone().map(move |a_slots| (tiles, a_slots))).filter_map(
        move |(group_tiles, a_slots)| {
            let per_warp = match facts.family {
                // Two rounds at a time.
                Family::SlotsSm90 => 2 * ROUND_TILE_BYTES,
                // Sums of a tile twice, and where its slices are.
                Family::SellSm90 => 2 * 1024 + 64 * k_blocks,
                _ => 0,
            };
            // A block for every tile of the group, or for each of the warpgroups that share it.
            let k_slices = kernel.k_slices(group_tiles);
            let blocks = group_tiles * k_slices * a_slots;
            // Sliced-K: two pieces of B for each of those and, where they are small, two more.
            let pieces = match k_slices {
                1 => 0,
                _ if facts.n_tiles * k_slices <= 8 => 4 * k_slices,
                _ => 2 * k_slices,
            };
            let bytes = u64::from(fixed)
                + u64::from(pieces * piece_bytes)
                + u64::from(group_tiles * facts.warps_a_tile * per_warp)
                + u64::from(blocks) * u64::from(slot_bytes);
            let smem_bytes =
                u32::try_from(bytes).ok().filter(|&bytes| bytes <= props.smem_per_block_optin)?;
            // One warp copies A, a lane each staged block.
            let copied = facts.family == Family::SlotsSm90 || facts.family.is_fragments();
            if copied && blocks > 32 {
                return None;
            }
            let by_smem = props.smem_per_sm / (smem_bytes + RESERVED_SMEM);
            let ctas_per_sm = by_smem.min(facts.ctas_by_registers).max(1);
            let c = Candidate { kernel, group_tiles, a_slots, slot_bytes, smem_bytes, ctas_per_sm };
            let line = Line::of(kernel, group_tiles, problem.m, problem.k, problem.block_cols);
            let sms = c.ctas_at_a_time(props, facts.slices(problem.n));
            Some(c).filter(|_| line.takes(1, sms))
        },
    )
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
            Law::Units(units) => splits(line)
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

/// The header of a matrix as the tests of this module plan it.
#[cfg(test)]
fn header(format: Format, rows: u64, cols: u64) -> Header {
    let (tile_rows, tile_cols) = crate::format::header::tile(format);
    Header {
        format,
        dtype: crate::types::DType::F16,
        reordered: false,
        rows,
        cols,
        nnz: 0,
        tile_rows: tile_rows as u32,
        tile_cols: tile_cols as u32,
        table_offset: 256,
        table_entries: 0,
        data_offset: 0,
        data_bytes: 0,
        total_bytes: 0,
        max_block: if format == Format::TiledCsl { 1800 } else { 43 },
    }
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
            for format in
                [Format::Bitmap, Format::TiledCsl, Format::Slots, Format::Banked, Format::Sell]
            {
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
    fn two_ctas_of_banked_that_share_every_row_group_are_pairs() {
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
        let slots = forced(Format::Slots, KernelId::SlotsN8Sm90, 2048, 2, None);
        assert!(!slots.pairs);
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
    fn rows_are_uneven_where_the_largest_block_says_so() {
        let with = |format, cols: u64, max_block, units: u64| {
            let data_bytes = units * u64::from(UNIT_BYTES);
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
