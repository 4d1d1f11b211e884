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
    /// Tiles of 32 rows.
    pub row_tiles: u32,
    /// Blocks along K.
    pub k_blocks: u32,
    /// Columns of a block.
    pub block_cols: u32,
    /// Shared memory of a staged block.
    pub slot_bytes: u32,
    /// Staged blocks a warp.
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
    /// 1 when anything below is used.
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
    /// Dense tiles in shared memory (Banked).
    pub images: u32,
    /// Whether tiles are dealt by their bytes, and not row groups by their number (SELL).
    pub deals_tiles: u32,
    /// Zero.
    pub reserved: u32,
}

/// Products of one launch at most.
pub const GROUP: usize = 16;

/// `FlSpmmGroup`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SpmmGroup {
    /// By blockIdx.z.
    pub p: [SpmmParams; GROUP],
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
    assert!(size_of::<SpmmParams>() == 216);
    assert!(offset_of!(SpmmParams, b_stride_n) == 56);
    assert!(offset_of!(SpmmParams, m) == 80);
    assert!(offset_of!(SpmmParams, alpha) == 116);
    assert!(offset_of!(SpmmParams, bias) == 136);
    assert!(offset_of!(SpmmParams, bias_type) == 192);
    assert!(size_of::<SpmmGroup>() == GROUP * 216);
    // What a kernel takes by value on every driver.
    assert!(size_of::<SpmmGroup>() <= 4096);
    assert!(size_of::<PackParams>() == 56);
    assert!(offset_of!(PackParams, k) == 40);
};
