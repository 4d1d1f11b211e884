//! Mirrors of `kernels/include/fl_params.h`.

use std::mem::{offset_of, size_of};

/// `FlSpmmParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SpmmParams {
    /// Offset table of A.
    pub table: u64,
    /// Data section of A.
    pub data: u64,
    /// B.
    pub b: u64,
    /// C.
    pub c: u64,
    /// Partial tiles.
    pub partials: u64,
    /// Arrival counters.
    pub counters: u64,
    /// Nonce of the launch.
    pub nonce: u64,
    /// Distance of columns of B, elements.
    pub b_stride_n: i64,
    /// Distance of rows of C, elements.
    pub c_stride_m: i64,
    /// Distance of columns of C, elements.
    pub c_stride_n: i64,
    /// Rows of A.
    pub m: u32,
    /// Columns of B.
    pub n: u32,
    /// Columns of A.
    pub k: u32,
    /// Row tiles.
    pub row_tiles: u32,
    /// Blocks along K.
    pub k_blocks: u32,
    /// Whether tiles are dealt by their bytes, and not row groups by their number (SELL).
    pub deals_tiles: u32,
    /// Shared memory of a staged block.
    pub slot_bytes: u32,
    /// Staged blocks of a row tile, or of a warp.
    pub a_slots: u32,
    /// 1 when C is fp32.
    pub c_is_f32: u32,
    /// Scale of the product.
    pub alpha: f32,
    /// Scale of C.
    pub beta: f32,
    /// Pieces of a row group.
    pub parts: u32,
    /// Row tiles of a row group.
    pub group_tiles: u32,
    /// What is used of what is below: [`FUSED_NOTHING`], [`FUSED_USUAL`] or [`FUSED_ANYTHING`].
    pub fused: u32,
    /// Bias, one element a row.
    pub bias: u64,
    /// Factors, fp32.
    pub gate: u64,
    /// Matrix to add.
    pub residual: u64,
    /// Address of alpha.
    pub alpha_at: u64,
    /// Address of beta.
    pub beta_at: u64,
    /// Distance of rows of the residual, elements.
    pub residual_stride_m: i64,
    /// Distance of columns of the residual, elements.
    pub residual_stride_n: i64,
    /// Element type of the bias.
    pub bias_type: u32,
    /// Element type of the residual.
    pub residual_type: u32,
    /// [`crate::types::Activation`].
    pub activation: u32,
    /// Pieces of every CTA.
    pub share: u32,
    /// CTAs that have one more.
    pub share_rest: u32,
    /// Units of every piece of a row group.
    pub piece: u32,
    /// Pieces that have one more.
    pub piece_rest: u32,
    /// By `k_blocks`.
    pub by_k_blocks: Divisor,
    /// By `parts`.
    pub by_parts: Divisor,
}

impl SpmmParams {
    /// Deals the pieces of the row groups, each of `k_blocks` units cut into `parts`, to `ctas` (fl_streamk.cuh).
    pub fn deal(&mut self, ctas: u32) {
        // Below 2^29, which the plan has made sure of.
        let pieces = self.row_tiles.div_ceil(self.group_tiles) * self.parts;
        (self.share, self.share_rest) = (pieces / ctas, pieces % ctas);
        (self.piece, self.piece_rest) = (self.k_blocks / self.parts, self.k_blocks % self.parts);
        self.by_k_blocks = Divisor::new(self.k_blocks);
        self.by_parts = Divisor::new(self.parts);
    }
}

/// `FlDivisor`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Divisor {
    /// 2^shift over the divisor, rounded up.
    pub magic: u32,
    /// 29 and the bits of the divisor less one.
    pub shift: u32,
}

impl Divisor {
    /// For numbers below 2^29; `by` is one to 2^29.
    const fn new(by: u32) -> Self {
        let shift = 29 + by.next_power_of_two().trailing_zeros();
        Self { magic: (1u64 << shift).div_ceil(by as u64) as u32, shift }
    }
}

/// Nothing follows a product but beta.
pub const FUSED_NOTHING: u32 = 0;
/// A bias of 16 bits, an activation and a residual of 16 bits follow, or some of them; alpha is a number.
pub const FUSED_USUAL: u32 = 1;
/// Anything may follow.
pub const FUSED_ANYTHING: u32 = 2;

/// Products of one launch at most.
pub const GROUP: usize = 16;

/// `FlSpmmGroup`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SpmmGroup {
    /// By blockIdx.z.
    pub p: [SpmmParams; GROUP],
}

/// `FlTensorMap`: where a matrix lies, as TMA wants to know it.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct TensorMap(pub [u64; 16]);

/// Products of one launch at most, where each has a map.
pub const MAPPED_GROUP: usize = 10;

/// `FlSpmmMappedGroup`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SpmmMappedGroup {
    /// Of B, by blockIdx.z.
    pub maps: [TensorMap; MAPPED_GROUP],
    /// By blockIdx.z.
    pub p: [SpmmParams; MAPPED_GROUP],
}

/// `FlPackParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PackParams {
    /// B.
    pub src: u64,
    /// Packed B.
    pub dst: u64,
    /// Distance of rows of B, elements.
    pub stride_k: i64,
    /// Distance of columns of B, elements.
    pub stride_n: i64,
    /// Distance of packed columns, elements.
    pub dst_stride_n: i64,
    /// Rows of B.
    pub k: u32,
    /// Columns of B.
    pub n: u32,
    /// Rows written.
    pub k_padded: u32,
    /// Planes of 8 columns of the other packing; else 0.
    pub planes: u32,
}

const _: () = {
    assert!(size_of::<SpmmParams>() == 240);
    assert!(offset_of!(SpmmParams, b_stride_n) == 56);
    assert!(offset_of!(SpmmParams, m) == 80);
    assert!(offset_of!(SpmmParams, alpha) == 116);
    assert!(offset_of!(SpmmParams, bias) == 136);
    assert!(offset_of!(SpmmParams, bias_type) == 192);
    assert!(offset_of!(SpmmParams, by_k_blocks) == 220);
    assert!(size_of::<SpmmGroup>() == GROUP * 240);
    // What a kernel takes by value on every driver.
    assert!(size_of::<SpmmGroup>() <= 4096);
    assert!(size_of::<SpmmMappedGroup>() <= 4096 && align_of::<SpmmMappedGroup>() == 64);
    assert!(offset_of!(SpmmMappedGroup, p) == MAPPED_GROUP * 128);
    assert!(size_of::<PackParams>() == 56);
    assert!(offset_of!(PackParams, k) == 40);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_divisor_divides_every_number_that_kernels_count_to() {
        for by in [1, 2, 3, 5, 7, 28, 31, 112, 132, 255, 256, 257, 65_535, 1 << 28, (1 << 29) - 1] {
            let d = Divisor::new(by);
            assert!(d.magic < 1 << 31, "{by}");
            let top = (1 << 29) - 1;
            let multiples =
                (0..=top / by).step_by((top / by / 1000).max(1) as usize).map(|i| i * by);
            for n in multiples.flat_map(|n| [n.saturating_sub(1), n, n + 1]).chain([top]) {
                if n <= top {
                    let quotient = ((u64::from(n) * u64::from(d.magic)) >> d.shift) as u32;
                    assert_eq!(quotient, n / by, "{n} / {by}");
                }
            }
        }
    }

    #[test]
    fn every_cta_has_its_share_of_the_pieces_and_no_piece_is_left() {
        for (groups, parts, k_blocks, ctas) in
            [(32, 28, 28, 132), (128, 1, 28, 128), (7, 4, 17, 9), (1, 1, 1, 4)]
        {
            // The last group has a tile less than seven.
            let (row_tiles, group_tiles) = (7 * groups - 1, 7);
            let mut p =
                SpmmParams { row_tiles, group_tiles, parts, k_blocks, ..SpmmParams::default() };
            p.deal(ctas);
            let first = |cta: u32| cta * p.share + cta.min(p.share_rest);
            assert_eq!((first(0), first(ctas)), (0, groups * parts));
            assert!((0..ctas).all(|c| first(c + 1) - first(c) - p.share <= 1));
            assert_eq!(parts * p.piece + p.piece_rest, k_blocks);
            assert!(p.piece_rest < parts && p.piece >= 1);
        }
    }
}
