//! Headers of matrices that nobody has compressed, for the tests of planning.

// Of the crate that this file is a module of, or of the one that it tests.
use super::{DType, Format, Header, tile};

/// Of this format, with blocks of at most so many units.
pub fn header_of(format: Format, (rows, cols): (u64, u64), max_block: u32) -> Header {
    let (tile_rows, tile_cols) = tile(format);
    Header {
        format,
        dtype: DType::F16,
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
        max_block,
    }
}
