//! The 256-byte header that opens every compressed buffer.

use crate::types::{DType, Format};

/// Decoded header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Storage format.
    pub format: Format,
    /// Element type.
    pub dtype: DType,
    /// Tiled-CSL: items are ordered by shared-memory bank.
    pub reordered: bool,
    /// Rows (M).
    pub rows: u64,
    /// Columns (K).
    pub cols: u64,
    /// Stored non-zeros, without padding.
    pub nnz: u64,
    /// Rows of a tile.
    pub tile_rows: u32,
    /// Columns of a tile or block.
    pub tile_cols: u32,
    /// Byte offset of the table.
    pub table_offset: u64,
    /// Entries of the table.
    pub table_entries: u64,
    /// Byte offset of the data.
    pub data_offset: u64,
    /// Bytes of data.
    pub data_bytes: u64,
    /// Bytes of the whole buffer.
    pub total_bytes: u64,
    /// Largest block: 128-byte units (Bitmap) or items (Tiled-CSL).
    pub max_block: u32,
}

impl Header {
    /// Size of the header.
    pub const BYTES: usize = 256;
    /// Reads a header.
    pub fn from_bytes(_: &[u8; 256]) -> crate::error::Result<Self> {
        todo!()
    }
}
