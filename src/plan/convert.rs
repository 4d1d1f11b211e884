//! The conversion kernels, and how the workspace of a conversion is divided.

use std::slice;

use crate::error::{Error, Kind, Result};
use crate::format::header::tile;
use crate::format::{Header, slots, tiled_csl};
use crate::types::{Format, checked_add, checked_mul};

/// One compiled conversion kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum ConvertKernel {
    /// Dense rows of Slots tiles.
    SlotsRows,
    /// Sizes of Slots blocks.
    SlotsSize,
    /// Dense to Slots.
    SlotsEncode,
    /// Slots to dense, and checks.
    SlotsUnpack,
    /// Sizes of Banked blocks.
    BankedSize,
    /// Dense to Banked.
    BankedEncode,
    /// Banked to dense, and checks.
    BankedUnpack,
    /// Sizes of SELL blocks.
    SellSize,
    /// Dense to SELL.
    SellEncode,
    /// SELL to dense, and checks.
    SellUnpack,
    /// Sizes of Bitmap blocks.
    BitmapSize,
    /// Dense to Bitmap.
    BitmapEncode,
    /// Bitmap to dense, and checks.
    BitmapUnpack,
    /// Sizes of Tiled-CSL tiles.
    TiledCslSize,
    /// Dense to Tiled-CSL.
    TiledCslEncode,
    /// Tiled-CSL to dense, and checks.
    TiledCslUnpack,
    /// Sizes to table.
    Scan,
    /// Check of the table before it is used.
    Table,
    /// Checks of CSR indices.
    CsrCheck,
    /// CSR rows to dense ones.
    CsrExpand,
    /// Histograms of magnitudes.
    PruneHistogram,
    /// The threshold.
    PruneSelect,
    /// Elements that equal the threshold.
    PruneTies,
    /// Those before each piece of a row.
    PruneScan,
    /// The pruned matrix.
    PruneApply,
    /// Rows pruned by themselves.
    PruneRows,
}

use ConvertKernel::{
    BankedEncode, BankedSize, BankedUnpack, BitmapEncode, BitmapSize, BitmapUnpack, CsrCheck,
    CsrExpand, PruneApply, PruneHistogram, PruneRows, PruneScan, PruneSelect, PruneTies, Scan,
    SellEncode, SellSize, SellUnpack, SlotsEncode, SlotsRows, SlotsSize, SlotsUnpack, Table,
    TiledCslEncode, TiledCslSize, TiledCslUnpack,
};

impl ConvertKernel {
    /// Every kernel, in declaration order.
    pub const ALL: &'static [ConvertKernel] = &[
        SlotsRows,
        SlotsSize,
        SlotsEncode,
        SlotsUnpack,
        BankedSize,
        BankedEncode,
        BankedUnpack,
        SellSize,
        SellEncode,
        SellUnpack,
        BitmapSize,
        BitmapEncode,
        BitmapUnpack,
        TiledCslSize,
        TiledCslEncode,
        TiledCslUnpack,
        Scan,
        Table,
        CsrCheck,
        CsrExpand,
        PruneHistogram,
        PruneSelect,
        PruneTies,
        PruneScan,
        PruneApply,
        PruneRows,
    ];

    /// File stem of the source, which names the embedded fatbin.
    pub const fn image(self) -> &'static str {
        match self {
            SlotsRows | SlotsSize | SlotsEncode | SlotsUnpack => "convert_slots",
            BankedSize | BankedEncode | BankedUnpack => "convert_banked",
            SellSize | SellEncode | SellUnpack => "convert_sell",
            BitmapSize | BitmapEncode | BitmapUnpack => "convert_bitmap",
            TiledCslSize | TiledCslEncode | TiledCslUnpack => "convert_tiled_csl",
            Scan => "convert_scan",
            Table => "convert_table",
            CsrCheck | CsrExpand => "convert_csr",
            PruneHistogram | PruneSelect | PruneTies | PruneScan | PruneApply | PruneRows => {
                "prune"
            }
        }
    }

    /// Exported name in the fatbin.
    pub const fn symbol(self) -> &'static str {
        match self {
            SlotsRows => "fl_convert_slots_rows",
            SlotsSize => "fl_convert_slots_size",
            SlotsEncode => "fl_convert_slots_encode",
            SlotsUnpack => "fl_convert_slots_unpack",
            BankedSize => "fl_convert_banked_size",
            BankedEncode => "fl_convert_banked_encode",
            BankedUnpack => "fl_convert_banked_unpack",
            SellSize => "fl_convert_sell_size",
            SellEncode => "fl_convert_sell_encode",
            SellUnpack => "fl_convert_sell_unpack",
            BitmapSize => "fl_convert_bitmap_size",
            BitmapEncode => "fl_convert_bitmap_encode",
            BitmapUnpack => "fl_convert_bitmap_unpack",
            TiledCslSize => "fl_convert_tiled_csl_size",
            TiledCslEncode => "fl_convert_tiled_csl_encode",
            TiledCslUnpack => "fl_convert_tiled_csl_unpack",
            Scan => "fl_convert_scan",
            Table => "fl_convert_table",
            CsrCheck => "fl_csr_check",
            CsrExpand => "fl_csr_expand",
            PruneHistogram => "fl_prune_histogram",
            PruneSelect => "fl_prune_select",
            PruneTies => "fl_prune_ties",
            PruneScan => "fl_prune_scan",
            PruneApply => "fl_prune_apply",
            PruneRows => "fl_prune_rows",
        }
    }

    /// Threads of a block.
    pub const fn threads(self) -> u32 {
        match self {
            Scan | Table | PruneScan => 1024,
            // Four for each row of a block.
            SellSize => 128,
            _ => 256,
        }
    }

    /// Blocks of the matrix that one thread block takes (kTogether in kernels/convert_slots.cu).
    pub const fn blocks_together(self) -> usize {
        match self {
            SlotsSize => 4,
            _ => 1,
        }
    }

    /// Dynamic shared memory for a matrix: kernels that have some hold its largest block in it. It needs no opting in.
    pub const fn dynamic_smem(self, header: &Header) -> u32 {
        match self {
            TiledCslEncode => TILED_CSL_TILE_BYTES + header.max_block * 4,
            _ => 0,
        }
    }

    /// (sizes, encode, unpack) of a format.
    pub const fn of(format: Format) -> (Self, Self, Self) {
        match format {
            Format::Slots => (SlotsSize, SlotsEncode, SlotsUnpack),
            Format::Banked => (BankedSize, BankedEncode, BankedUnpack),
            Format::Bitmap => (BitmapSize, BitmapEncode, BitmapUnpack),
            Format::TiledCsl => (TiledCslSize, TiledCslEncode, TiledCslUnpack),
            Format::Sell => (SellSize, SellEncode, SellUnpack),
        }
    }
}

/// Alignment of the workspace and of its parts.
pub const ALIGN: usize = 256;

/// Offsets into the workspace of an analysis: first what the kernels report, then tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Bitmap: the table, which stays while AUTO measures another format.
    pub bitmap_table: usize,
    /// The table of another format.
    pub table: usize,
    /// Slots: the blocks' orders, [`slots::ORDER_BYTES`] each.
    pub orders: usize,
    /// Slots: the dense rows of every tile, a bit each of 32.
    pub dense_rows: usize,
    /// Bytes of all.
    pub bytes: usize,
}

impl Workspace {
    /// For a matrix that is compressed to `format`, or to what AUTO chooses.
    pub fn new(rows: usize, cols: usize, format: Option<Format>) -> Result<Self> {
        let mut end = ALIGN;
        let mut part = |count: usize, bytes: usize| -> Result<usize> {
            let at = end;
            let bytes = checked_mul(count, bytes, "workspace")?;
            end = checked_add(at, bytes, "workspace")?
                .checked_next_multiple_of(ALIGN)
                .ok_or_else(|| Error::new(Kind::SizeOverflow, "workspace: it does not fit"))?;
            Ok(at)
        };
        let blocks = |tile: (usize, usize)| {
            checked_mul(rows.div_ceil(tile.0), cols.div_ceil(tile.1), "blocks")
        };
        let (mut bitmap_table, mut table) = (0, 0);
        if matches!(format, None | Some(Format::Bitmap)) {
            let count = blocks(tile(Format::Bitmap))?;
            bitmap_table = part(checked_add(count, 1, "blocks")?, 4)?;
        }
        let others: &[Format] = match &format {
            // Of those that are measured beside Bitmap, the last one is chosen, or Bitmap.
            None => &[Format::Banked, Format::Sell, Format::Slots, Format::TiledCsl],
            Some(Format::Bitmap) => &[],
            Some(other) => slice::from_ref(other),
        };
        let mut most = None;
        for &format in others {
            most = most.max(Some(blocks(tile(format))?));
        }
        if let Some(most) = most {
            table = part(checked_add(most, 2, "blocks")?, 4)?;
        }
        let (mut orders, mut dense_rows) = (0, 0);
        if matches!(format, None | Some(Format::Slots)) {
            orders = part(blocks(tile(Format::Slots))?, slots::ORDER_BYTES)?;
            dense_rows = part(rows.div_ceil(slots::TILE_ROWS), 4)?;
        }
        Ok(Self { bitmap_table, table, orders, dense_rows, bytes: end })
    }

    /// Where the table of `format` is.
    pub fn table_of(&self, format: Format) -> usize {
        match format {
            Format::Bitmap => self.bitmap_table,
            Format::Banked | Format::Sell | Format::Slots | Format::TiledCsl => self.table,
        }
    }
}

/// Bytes of the dense rows that a CSR matrix is expanded into at a time, unless 128 rows are more.
const STRIP_BYTES: usize = 64 << 20;

/// Offsets into the workspace of a conversion from CSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CsrWorkspace {
    /// What a conversion of a dense matrix needs, at the beginning.
    pub encode: Workspace,
    /// Dense rows.
    pub staging: usize,
    /// Their leading dimension, elements.
    pub ld: usize,
    /// Their number: a multiple of every format's tile.
    pub strip_rows: usize,
    /// Bytes of all.
    pub bytes: usize,
}

impl CsrWorkspace {
    /// For a matrix that is compressed to `format`, or to what AUTO chooses.
    pub fn new(rows: usize, cols: usize, format: Option<Format>) -> Result<Self> {
        let encode = Workspace::new(rows, cols, format)?;
        let ld = checked_add(cols, 7, "cols")? / 8 * 8;
        let row_bytes = checked_mul(ld, 2, "bytes of a row")?;
        let tile = tiled_csl::TILE_ROWS;
        let most = rows.div_ceil(tile) * tile;
        let strip_rows = (STRIP_BYTES / row_bytes / tile * tile).clamp(tile, most);
        let strip = checked_mul(strip_rows, row_bytes, "workspace")?;
        let bytes = checked_add(encode.bytes, strip, "workspace")?;
        Ok(Self { encode, staging: encode.bytes, ld, strip_rows, bytes })
    }
}

/// Offsets into the workspace of pruning: first the kernels' state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PruneWorkspace {
    /// Ties of each row and [`PRUNE_TILE_COLS`] columns.
    pub counts: usize,
    /// Bytes of all.
    pub bytes: usize,
}

/// Columns of a tile of pruning (kTileCols in kernels/prune.cu).
pub const PRUNE_TILE_COLS: usize = 256;

/// Bytes of the kernels' state of pruning (FlPruneState).
pub const PRUNE_STATE_BYTES: usize = 4120;

/// Shared memory of a Tiled-CSL tile that is being encoded, bytes (Tile in kernels/convert_tiled_csl.cu).
const TILED_CSL_TILE_BYTES: u32 = 6480;

impl PruneWorkspace {
    /// For a matrix of this shape.
    pub fn new(rows: usize, cols: usize) -> Result<Self> {
        let counts = PRUNE_STATE_BYTES.next_multiple_of(ALIGN);
        let pieces = checked_mul(rows, cols.div_ceil(PRUNE_TILE_COLS), "workspace")?;
        let bytes = checked_add(counts, checked_mul(pieces, 8, "workspace")?, "workspace")?;
        Ok(Self { counts, bytes })
    }
}

/// Bytes of workspace for a comparison.
pub const COMPARE_BYTES: usize = ALIGN;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_listed_in_declaration_order() {
        for (index, &kernel) in ConvertKernel::ALL.iter().enumerate() {
            assert_eq!(kernel as usize, index);
        }
    }

    #[test]
    fn a_workspace_has_room_for_the_tables_of_what_may_be_chosen() {
        let slots = Workspace::new(33, 300, Some(Format::Slots)).unwrap();
        assert_eq!((slots.table, slots.orders, slots.dense_rows), (256, 512, 1024));
        assert_eq!(slots.bytes, 1280);
        let bitmap = Workspace::new(33, 300, Some(Format::Bitmap)).unwrap();
        assert_eq!((bitmap.bitmap_table, bitmap.bytes), (256, 512));
        let auto = Workspace::new(1 << 14, 1 << 14, None).unwrap();
        // 256 x 64 blocks of Bitmap, 128 x 256 tiles of Tiled-CSL, 512 x 64 blocks of Slots.
        assert_eq!(auto.bitmap_table, 256);
        assert_eq!(auto.table, 256 + 256 * 64 * 4 + 256);
        assert_eq!(auto.orders, auto.table + 128 * 256 * 4 + 256);
        assert_eq!(auto.dense_rows, auto.orders + 512 * 64 * 128);
        assert_eq!(auto.bytes, auto.dense_rows + 512 * 4);
    }

    #[test]
    fn strips_are_whole_tiles_of_about_64_megabytes() {
        let small = CsrWorkspace::new(100, 33, Some(Format::Slots)).unwrap();
        assert_eq!((small.ld, small.strip_rows), (40, 128));
        assert_eq!(small.bytes, small.staging + 128 * 80);
        let large = CsrWorkspace::new(100_000, 8192, None).unwrap();
        assert_eq!(large.strip_rows, 4096);
        let wide = CsrWorkspace::new(1000, 1 << 20, None).unwrap();
        assert_eq!(wide.strip_rows, 128);
    }

    #[test]
    fn shapes_that_do_not_fit_the_address_space_are_refused() {
        let huge = usize::MAX / 2;
        assert_eq!(Workspace::new(huge, huge, None).unwrap_err().kind(), Kind::SizeOverflow);
    }
}
