//! Mirrors of `kernels/include/fl_convert_params.h`.

use std::mem::{offset_of, size_of};

/// `FL_UNPACK_STORE`: write the elements to the dense matrix.
pub const UNPACK_STORE: u32 = 0;
/// `FL_UNPACK_COMPARE`: compare them with it.
pub const UNPACK_COMPARE: u32 = 1;
/// `FL_UNPACK_CHECK`: check the blocks.
pub const UNPACK_CHECK: u32 = 2;

/// `FlConvertParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ConvertParams {
    /// First element of the strip.
    pub dense: u64,
    /// Offsets, or sizes.
    pub table: u64,
    /// Data section.
    pub data: u64,
    /// Header and table, or 0.
    pub front: u64,
    /// [`ConvertResult`].
    pub result: u64,
    /// Orders of a Slots matrix's blocks, which its analysis leaves for its conversion.
    pub orders: u64,
    /// Dense rows of its tiles, a bit each of a `u32`, which the analysis leaves, too.
    pub dense_rows: u64,
    /// Units of the data.
    pub data_units: u64,
    /// Entries of the table.
    pub table_entries: u64,
    /// Number of the strip's first block.
    pub first_block: u64,
    /// Leading dimension, elements.
    pub ld: i64,
    /// Rows of the strip.
    pub rows: i64,
    /// Columns.
    pub cols: i64,
    /// Blocks of a row of tiles.
    pub blocks_across: u32,
    /// 1 for column-major.
    pub col_major: u32,
    /// 1 if rows begin at multiples of 16 bytes.
    pub vectors: u32,
    /// 1 for items in bank order.
    pub reordered: u32,
    /// `UNPACK_*`.
    pub usage: u32,
    /// Entries of the table beyond one a block.
    pub extra_entries: u32,
    /// Units of the largest block.
    pub room: u32,
    /// The header to write.
    pub header: [u32; 64],
}

/// `FlConvertResult`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvertResult {
    /// Units of all blocks.
    pub units: u64,
    /// Stored elements.
    pub nnz: u64,
    /// First block that is wrong, or `u64::MAX`.
    pub bad: u64,
    /// Largest block.
    pub max_block: u32,
    /// 1 if an element differs.
    pub different: u32,
}

impl ConvertResult {
    /// What the kernels begin with.
    pub const START: Self = Self { units: 0, nnz: 0, bad: u64::MAX, max_block: 0, different: 0 };
}

/// `FlScanParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ScanParams {
    /// Sizes, then offsets.
    pub table: u64,
    /// [`ConvertResult`].
    pub result: u64,
    /// Blocks.
    pub blocks: u64,
    /// [`crate::types::Format`].
    pub format: u32,
}

/// `FlTableParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TableParams {
    /// Offsets, one more than blocks.
    pub table: u64,
    /// Blocks.
    pub blocks: u64,
    /// Units of all of them.
    pub data_units: u64,
    /// Units of a block at least.
    pub least: u32,
    /// Units of a block at most.
    pub most: u32,
}

/// `FlView`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// First element.
    pub dense: u64,
    /// Leading dimension, elements.
    pub ld: i64,
    /// Rows.
    pub rows: i64,
    /// Columns.
    pub cols: i64,
    /// 1 for column-major.
    pub col_major: u32,
    /// 1 if rows begin at multiples of 16 bytes.
    pub vectors: u32,
}

/// `FlPruneParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PruneParams {
    /// What is pruned.
    pub source: View,
    /// Where the result goes.
    pub out: View,
    /// Elements to zero, of the matrix or of each row.
    pub target: u64,
    /// [`PruneState`].
    pub state: u64,
    /// Ties.
    pub counts: u64,
    /// Pieces of a row.
    pub across: u32,
    /// Upper or lower bits.
    pub pass: u32,
}

/// `FlPruneState`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PruneState {
    /// Histograms.
    pub bins: [[u64; 256]; 2],
    /// Elements below the threshold.
    pub below: u64,
    /// Ties that go.
    pub ties: u64,
    /// Magnitude.
    pub threshold: u32,
    /// Zero.
    pub reserved: u32,
}

/// `FlCsrParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CsrParams {
    /// Dense rows to write.
    pub out: View,
    /// Row offsets.
    pub offsets: u64,
    /// Column indices.
    pub columns: u64,
    /// Values.
    pub values: u64,
    /// [`ConvertResult`].
    pub result: u64,
    /// First row of `out`.
    pub first_row: i64,
    /// Rows of the matrix.
    pub rows: i64,
    /// Columns.
    pub cols: i64,
    /// Stored elements.
    pub nnz: i64,
    /// What indices begin with.
    pub base: i64,
    /// 1 for 64-bit offsets.
    pub wide_offsets: u32,
    /// 1 for 64-bit columns.
    pub wide_columns: u32,
}

const _: () = {
    assert!(size_of::<View>() == 40);
    assert!(size_of::<PruneParams>() == 112);
    assert!(size_of::<PruneState>() == crate::plan::convert::PRUNE_STATE_BYTES);
    assert!(size_of::<CsrParams>() == 120);
    assert!(size_of::<ConvertParams>() == 392);
    assert!(offset_of!(ConvertParams, ld) == 80);
    assert!(offset_of!(ConvertParams, blocks_across) == 104);
    assert!(offset_of!(ConvertParams, header) == 132);
    assert!(size_of::<ConvertResult>() == 32);
    assert!(offset_of!(ConvertResult, max_block) == 24);
    assert!(size_of::<ScanParams>() == 32);
    assert!(size_of::<TableParams>() == 32);
};
