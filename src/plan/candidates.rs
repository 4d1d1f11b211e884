//! What could run a product on a device: kernels, each with every number of row tiles and staged blocks that fits.

use super::line::Line;
use super::model::Features;
use super::{CHUNK_COLS, DeviceProps, Family, KernelId, Problem};
use crate::format::slots;
use crate::types::Format;

/// Bytes of a unit of a block.
pub(super) const UNIT_BYTES: u32 = 128;
/// Shared memory for the sums of a tile of Banked or Bitmap, which lie in the slot of a block.
const FRAGMENT_SUMS_BYTES: u32 = 4 * 2048;
/// Shared memory of a warp for a round of overflow of Slots.
const ROUND_TILE_BYTES: u32 = 1024;
/// Shared memory that the driver keeps for itself in every CTA.
const RESERVED_SMEM: u32 = 1024;
/// Columns of SELL up to which the Hopper kernels hold where every slice of a row group is.
const SELL_COLS: u32 = 256 * 2048;
/// Columns over 8 of the kernels that are compared: what 256 or fewer columns of one CTA take, and 128 twice.
pub(super) const CLASSES: [&[u32]; 6] =
    [&[32, 28, 24, 20, 16, 14, 12, 8], &[6], &[4], &[3], &[2], &[1]];

pub(super) struct Candidate {
    pub(super) kernel: KernelId,
    pub(super) group_tiles: u32,
    pub(super) a_slots: u32,
    pub(super) slot_bytes: u32,
    pub(super) smem_bytes: u32,
    pub(super) ctas_per_sm: u32,
}

impl Candidate {
    /// Warps of a CTA that sum something.
    pub(super) fn warps(&self) -> u32 {
        self.group_tiles * self.kernel.facts().warps_a_tile
    }

    /// Threads of a CTA.
    pub(super) fn threads(&self) -> u32 {
        let facts = self.kernel.facts();
        let warps = if facts.family.warps_roam() {
            facts.warps
        } else {
            self.warps() * self.kernel.k_slices(self.group_tiles)
        };
        32 * (warps + facts.loaders)
    }

    /// CTAs along the line of units that run at a time.
    pub(super) fn ctas_at_a_time(&self, props: &DeviceProps, slices: u32) -> u32 {
        ctas_of_a_slice(self.kernel, props.sm_count * self.ctas_per_sm, slices)
    }

    /// Slices of N.
    pub(super) fn slices(&self, problem: &Problem) -> u32 {
        self.kernel.facts().slices(problem.n)
    }

    /// What its time depends on.
    pub(super) fn features(
        &self,
        line: &Line,
        problem: &Problem,
        props: &DeviceProps,
        parts: u32,
        sms: u32,
        slices: u32,
    ) -> Features {
        let together = line.ctas(parts, sms).saturating_mul(slices).div_ceil(props.sm_count.max(1));
        let unit_bytes = if problem.format == Format::TiledCsl { 4 } else { UNIT_BYTES };
        Features {
            kernel: self.kernel,
            group_tiles: line.tiles_at_a_time(parts, sms),
            a_slots: self.a_slots,
            slot_bytes: self.slot_bytes,
            max_block: problem.max_block,
            block_bytes: problem.max_block.saturating_mul(unit_bytes),
            busiest: line.busiest(parts, sms),
            fair: line.fair(fair_slices(self.kernel, slices, together), props.sm_count),
            together,
            cut: line.cuts(parts, sms),
            owners: line.owners(parts, sms),
            starts: line.starts(parts, sms),
            straddles: straddles(problem.k),
        }
    }
}

/// [`Features::straddles`] of B with so many rows.
pub(super) fn straddles(k: u32) -> bool {
    k % (128 / 2) != 0
}

/// Columns over 8 of the kernels that a product is for.
pub(super) fn width(problem: &Problem, props: &DeviceProps) -> u32 {
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
        13 | 14 if fragments => 14,
        17..=20 if fragments => 20,
        21..=24 if fragments => 24,
        25..=28 if fragments => 28,
        // Which of them makes the best slices depends on how many columns are left for the last one, but less and less.
        eights @ 33.. if fragments => eights.next_multiple_of(8).min(64),
        eights => eights.next_power_of_two().min(widest),
    }
}

/// Of so many CTAs those that have a slice of N, one of so many.
pub(super) fn ctas_of_a_slice(kernel: KernelId, ctas: u32, slices: u32) -> u32 {
    if kernel.facts().family.slices_share_a() { (ctas / slices.max(1)).max(1) } else { ctas }
}

/// How often A comes from memory for so many slices of which so many CTAs share a multiprocessor: once where all slices run side
/// by side.
pub(super) fn fair_slices(kernel: KernelId, slices: u32, together: u32) -> u32 {
    if kernel.facts().family.slices_share_a() || together <= 1 { 1 } else { slices }
}

/// Every way to run the product with `n_tiles` that fits the device. Lazy: planning is part of a compute call,
/// which allocates nothing.
pub(super) fn candidates<'a>(
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

/// How much B's ring has room for, in pieces of 128 of K (fl_fragments_sm90.cuh; from 192 columns on it has twice as many of 64): of
/// sliced-K two for each warpgroup that shares a tile and, where they are small, two more.
fn fragment_pieces(kernel: KernelId, k_slices: u32) -> u32 {
    let facts = kernel.facts();
    match facts.n_tiles {
        _ if !facts.family.is_fragments() => 0,
        n_tiles if facts.family.is_sliced() && n_tiles * k_slices <= 8 => 4 * k_slices,
        _ if facts.family.is_sliced() => 2 * k_slices,
        24.. => 2,
        12.. => 3,
        _ => 4,
    }
}

/// The kernel with each number of staged blocks that fits the device's shared memory.
pub(super) fn stagings<'a>(
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
        // What aligns the rest, and barriers; the ring of B is as long as row tiles say.
        family if family.is_fragments() => (2048, fragment_bytes.max(FRAGMENT_SUMS_BYTES), 4),
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
            let bytes = u64::from(fixed)
                + u64::from(fragment_pieces(kernel, k_slices) * rows * 128 * 2)
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
