//! The 256-byte header that opens every compressed buffer.
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | 8 bytes | magic, `FLLMBANK`, `FLLMBMAP`, `FLLMSELL`, `FLLMSLOT` or `FLLMTCSL` |
//! | 8 | u32 | format version |
//! | 12 | u32 | header bytes (256) |
//! | 16 | u32 | element type, cudaDataType's number (2 = fp16, 14 = bfloat16) |
//! | 20 | u32 | flags; bit 0: Tiled-CSL items are ordered by bank |
//! | 24 | u64 | rows |
//! | 32 | u64 | cols |
//! | 40 | u64 | nnz, without padding |
//! | 48 | u32 | tile rows |
//! | 52 | u32 | tile cols |
//! | 56 | u64 | table offset (256) |
//! | 64 | u64 | table entries, u32 each |
//! | 72 | u64 | data offset |
//! | 80 | u64 | data bytes |
//! | 88 | u64 | total bytes |
//! | 96 | u32 | max block |
//! | 100 | 156 bytes | zero |
//!
//! All integers are little-endian. The counts and offsets are redundant on purpose: a reader recomputes
//! them from rows, cols and tile shape, so a damaged header is refused instead of believed.

use std::ops::RangeInclusive;

use crate::error::{Error, Kind, Result};
use crate::types::{DType, Format};

use super::{banked, bitmap, sell, slots, tiled_csl};

/// The version of a format this library writes, and the only one it reads.
pub const fn version(format: Format) -> u32 {
    match format {
        Format::Sell | Format::TiledCsl => 1,
        Format::Bitmap => 2,
        Format::Banked => 3,
        Format::Slots => 4,
    }
}

/// Bytes of one step of a format's table of offsets.
pub const fn unit_bytes(format: Format) -> u64 {
    let unit = match format {
        Format::Bitmap => bitmap::UNIT,
        Format::Slots => slots::UNIT,
        Format::Banked => banked::UNIT,
        Format::Sell => sell::UNIT,
        Format::TiledCsl => tiled_csl::UNIT,
    };
    unit as u64
}

/// Rows and columns of a tile or block.
pub const fn tile(format: Format) -> (usize, usize) {
    match format {
        Format::Banked => (banked::TILE_ROWS, banked::TILE_COLS),
        Format::Bitmap => (bitmap::TILE_ROWS, bitmap::TILE_COLS),
        Format::Sell => (sell::TILE_ROWS, sell::TILE_COLS),
        Format::Slots => (slots::TILE_ROWS, slots::TILE_COLS),
        Format::TiledCsl => (tiled_csl::TILE_ROWS, tiled_csl::TILE_COLS),
    }
}

/// Fewest and most units a block can have.
const fn block_units(format: Format) -> (u32, u32) {
    match format {
        Format::Banked => (banked::LEAST_UNITS, banked::MOST_UNITS),
        Format::Bitmap => (bitmap::LEAST_UNITS, bitmap::MOST_UNITS),
        Format::Sell => (sell::LEAST_UNITS, sell::MOST_UNITS),
        Format::Slots => (slots::FIXED_UNITS, slots::MOST_UNITS),
        Format::TiledCsl => {
            (0, (tiled_csl::TILE_ROWS * tiled_csl::TILE_COLS / tiled_csl::VECTOR) as u32)
        }
    }
}

/// Where the data of a buffer begin and how many bytes they can have, for who is told of a buffer before it is there,
/// and would allocate by that. Refuses a matrix that has no buffer.
pub(crate) fn sizes(
    format: Format,
    rows: u64,
    cols: u64,
    nnz: u64,
) -> Result<(u64, RangeInclusive<u64>)> {
    let (least, most) = block_units(format);
    let content =
        Content { format, reordered: false, rows, cols, nnz, data_bytes: 0, max_block: least };
    let header = Header::new(&content)?;
    // The table counts units in 32 bits.
    let units = |each: u32| {
        (header.blocks() as u64).saturating_mul(u64::from(each)).min(u64::from(u32::MAX))
    };
    let unit = header.unit_bytes();
    Ok((header.data_offset, units(least) * unit..=units(most) * unit))
}

/// Alignment of the buffer's base and of its data section.
pub const ALIGN: u64 = 256;

const MAGIC_BANKED: [u8; 8] = *b"FLLMBANK";
const MAGIC_BITMAP: [u8; 8] = *b"FLLMBMAP";
const MAGIC_SELL: [u8; 8] = *b"FLLMSELL";
const MAGIC_SLOTS: [u8; 8] = *b"FLLMSLOT";
const MAGIC_TILED_CSL: [u8; 8] = *b"FLLMTCSL";
const FLAG_REORDERED: u32 = 1;
const RESERVED: usize = 100;

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
    /// Largest block: 128-byte units (Banked, Bitmap, SELL, Slots) or items (Tiled-CSL).
    pub max_block: u32,
}

/// What the encoder knows; the rest of the header follows from it.
pub(crate) struct Content {
    pub format: Format,
    pub reordered: bool,
    pub rows: u64,
    pub cols: u64,
    pub nnz: u64,
    pub data_bytes: u64,
    pub max_block: u32,
}

impl Header {
    /// Bytes of the header.
    pub const BYTES: usize = 256;

    /// Completes `content` with the derived offsets.
    pub(crate) fn new(content: &Content) -> Result<Self> {
        let (tile_rows, tile_cols) = tile(content.format);
        let mut header = Self {
            format: content.format,
            dtype: DType::F16,
            reordered: content.reordered,
            rows: content.rows,
            cols: content.cols,
            nnz: content.nnz,
            tile_rows: tile_rows as u32,
            tile_cols: tile_cols as u32,
            table_offset: Self::BYTES as u64,
            table_entries: 0,
            data_offset: 0,
            data_bytes: content.data_bytes,
            total_bytes: 0,
            max_block: content.max_block,
        };
        let overflow = || {
            Error::new(Kind::SizeOverflow, "the compressed matrix does not fit the address space")
        };
        header.table_entries = header.expected_entries().ok_or_else(overflow)?;
        header.data_offset = header.expected_data_offset().ok_or_else(overflow)?;
        header.total_bytes =
            header.data_offset.checked_add(header.data_bytes).ok_or_else(overflow)?;
        if isize::try_from(header.total_bytes).is_err() {
            return Err(overflow());
        }
        header.check()?;
        Ok(header)
    }

    /// Tiles along the rows and tiles (or blocks) along the columns.
    pub fn grid(&self) -> (u64, u64) {
        (
            self.rows.div_ceil(u64::from(self.tile_rows)),
            self.cols.div_ceil(u64::from(self.tile_cols)),
        )
    }

    /// The largest block over one of average rows: masks that are even have up to 1.3. Only the last blocks along K may have fewer
    /// columns than the others. Not a number where there is no element.
    pub(crate) fn fullest(&self) -> f64 {
        let tiles = self.rows.div_ceil(u64::from(self.tile_rows.max(1))) as f64;
        let share = f64::from(self.tile_cols).min(self.cols as f64) / self.cols as f64;
        let average = self.data_bytes as f64 / self.unit_bytes() as f64 / tiles * share;
        f64::from(self.max_block) / average
    }

    /// Blocks (tiles of Tiled-CSL), of a header that has been checked.
    pub(crate) fn blocks(&self) -> usize {
        let (tiles, blocks) = self.grid();
        (tiles * blocks) as usize
    }

    /// Bytes of one step of the table's offsets.
    pub fn unit_bytes(&self) -> u64 {
        unit_bytes(self.format)
    }

    /// Fewest and most units a block can have.
    pub fn block_units(&self) -> (u32, u32) {
        block_units(self.format)
    }

    fn expected_entries(&self) -> Option<u64> {
        let (tiles, blocks) = self.grid();
        let extra = match self.format {
            Format::Banked | Format::Bitmap | Format::Sell | Format::Slots => 1,
            Format::TiledCsl => 2,
        };
        tiles.checked_mul(blocks)?.checked_add(extra)
    }

    fn expected_data_offset(&self) -> Option<u64> {
        self.table_entries
            .checked_mul(4)?
            .checked_add(self.table_offset)?
            .checked_next_multiple_of(ALIGN)
    }

    /// Checks every field against the others. The buffer's length is [`super::parse_header`]'s job.
    pub fn check(&self) -> Result<()> {
        if self.dtype.size() != 2 {
            return Err(wrong("element type", self.dtype as u32, "2 (fp16) or 14 (bfloat16)"));
        }
        if self.reordered && self.format != Format::TiledCsl {
            return Err(wrong("flags", FLAG_REORDERED, "0 for a buffer that is not Tiled-CSL"));
        }
        for (name, value) in [("rows", self.rows), ("cols", self.cols)] {
            if value == 0 {
                return Err(wrong(name, value, "at least 1"));
            }
        }
        let (tile_rows, tile_cols) = tile(self.format);
        if self.tile_rows as usize != tile_rows {
            return Err(wrong("tile rows", self.tile_rows, tile_rows));
        }
        if self.tile_cols as usize != tile_cols {
            return Err(wrong("tile cols", self.tile_cols, tile_cols));
        }
        let elements = self
            .rows
            .checked_mul(self.cols)
            .ok_or_else(|| wrong("rows", self.rows, "rows x cols within 64 bits"))?;
        if self.nnz > elements {
            return Err(wrong("nnz", self.nnz, format!("at most rows x cols = {elements}")));
        }
        if self.table_offset != Self::BYTES as u64 {
            return Err(wrong("table offset", self.table_offset, Self::BYTES));
        }
        match self.expected_entries() {
            Some(entries) if entries == self.table_entries => {}
            Some(entries) => return Err(wrong("table entries", self.table_entries, entries)),
            None => return Err(wrong("rows", self.rows, "a table within 64 bits")),
        }
        match self.expected_data_offset() {
            Some(offset) if offset == self.data_offset => {}
            Some(offset) => return Err(wrong("data offset", self.data_offset, offset)),
            None => {
                return Err(wrong("table entries", self.table_entries, "a table within 64 bits"));
            }
        }
        let unit = self.unit_bytes();
        // Tiled-CSL's offsets are signed.
        let most = match self.format {
            Format::TiledCsl => i32::MAX.unsigned_abs(),
            Format::Banked | Format::Bitmap | Format::Sell | Format::Slots => u32::MAX,
        };
        if self.data_bytes % unit != 0 || self.data_bytes / unit > u64::from(most) {
            return Err(wrong(
                "data bytes",
                self.data_bytes,
                format!("a multiple of {unit}, at most {most} times as many"),
            ));
        }
        match self.data_offset.checked_add(self.data_bytes) {
            Some(total) if total == self.total_bytes => {}
            Some(total) => return Err(wrong("total bytes", self.total_bytes, total)),
            None => return Err(wrong("data bytes", self.data_bytes, "a total within 64 bits")),
        }
        // Tiled-CSL counts items.
        let step = if self.format == Format::TiledCsl { tiled_csl::VECTOR as u32 } else { 1 };
        let (low, high) = self.block_units();
        let (low, high) = (low * step, high * step);
        if self.max_block < low || self.max_block > high || (self.max_block - low) % step != 0 {
            return Err(wrong(
                "max block",
                self.max_block,
                format!("{low} to {high} in steps of {step}"),
            ));
        }
        Ok(())
    }

    /// The header as stored.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = [0u8; Self::BYTES];
        out[0..8].copy_from_slice(match self.format {
            Format::Bitmap => &MAGIC_BITMAP,
            Format::Slots => &MAGIC_SLOTS,
            Format::Banked => &MAGIC_BANKED,
            Format::Sell => &MAGIC_SELL,
            Format::TiledCsl => &MAGIC_TILED_CSL,
        });
        let flags = if self.reordered { FLAG_REORDERED } else { 0 };
        let words = [
            (8, version(self.format)),
            (12, Self::BYTES as u32),
            (16, self.dtype as u32),
            (20, flags),
            (48, self.tile_rows),
            (52, self.tile_cols),
            (96, self.max_block),
        ];
        for (at, value) in words {
            out[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let longs = [
            (24, self.rows),
            (32, self.cols),
            (40, self.nnz),
            (56, self.table_offset),
            (64, self.table_entries),
            (72, self.data_offset),
            (80, self.data_bytes),
            (88, self.total_bytes),
        ];
        for (at, value) in longs {
            out[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        out
    }

    /// Reads a header and checks every field; the first one that is wrong is named in the error.
    ///
    /// An unknown format version is `VersionMismatch`, everything else `CorruptData`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let Some(bytes) = bytes.first_chunk::<{ Self::BYTES }>() else {
            return Err(corrupt(format!(
                "the buffer has {} bytes, a header needs {}",
                bytes.len(),
                Self::BYTES
            )));
        };
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;

        let format = match bytes.first_chunk() {
            Some(&MAGIC_BITMAP) => Format::Bitmap,
            Some(&MAGIC_SLOTS) => Format::Slots,
            Some(&MAGIC_BANKED) => Format::Banked,
            Some(&MAGIC_SELL) => Format::Sell,
            Some(&MAGIC_TILED_CSL) => Format::TiledCsl,
            _ => {
                let shown = bytes[0..8].escape_ascii();
                return Err(corrupt(format!(
                    "header: magic = \"{shown}\", needs \"FLLMBANK\", \"FLLMBMAP\", \"FLLMSELL\", \"FLLMSLOT\" or \"FLLMTCSL\""
                )));
            }
        };
        let (found, known) = (u32_at(8), version(format));
        if found != known {
            return Err(Error::new(
                Kind::VersionMismatch,
                format!(
                    "header: version = {found}, this library reads version {known} of {format:?}"
                ),
            ));
        }
        if u32_at(12) != Self::BYTES as u32 {
            return Err(wrong("header bytes", u32_at(12), Self::BYTES));
        }
        let dtype = match u32_at(16) {
            2 => DType::F16,
            14 => DType::BF16,
            other => return Err(wrong("element type", other, "2 (fp16) or 14 (bfloat16)")),
        };
        let flags = u32_at(20);
        if flags & !FLAG_REORDERED != 0 {
            return Err(wrong("flags", format!("{flags:#x}"), "bit 0 at most"));
        }
        if let Some(at) = bytes[RESERVED..].iter().position(|&b| b != 0) {
            let at = RESERVED + at;
            return Err(wrong(
                "reserved bytes",
                format!("{:#04x} at byte {at}", bytes[at]),
                "zero",
            ));
        }
        let header = Self {
            format,
            dtype,
            reordered: flags & FLAG_REORDERED != 0,
            rows: u64_at(24),
            cols: u64_at(32),
            nnz: u64_at(40),
            tile_rows: u32_at(48),
            tile_cols: u32_at(52),
            table_offset: u64_at(56),
            table_entries: u64_at(64),
            data_offset: u64_at(72),
            data_bytes: u64_at(80),
            total_bytes: u64_at(88),
            max_block: u32_at(96),
        };
        header.check()?;
        Ok(header)
    }
}

pub(crate) fn corrupt(message: impl Into<String>) -> Error {
    Error::new(Kind::CorruptData, message)
}

fn wrong(field: &str, value: impl std::fmt::Display, needs: impl std::fmt::Display) -> Error {
    corrupt(format!("header: {field} = {value}, needs {needs}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header {
        Header::new(&Content {
            format: Format::Bitmap,
            reordered: false,
            rows: 65,
            cols: 300,
            nnz: 1000,
            data_bytes: 4 * 30 * 128,
            max_block: 30,
        })
        .unwrap()
    }

    #[test]
    fn header_survives_its_bytes() {
        let header = sample();
        assert_eq!((header.table_entries, header.data_offset), (5, 512));
        assert_eq!(Header::from_bytes(&header.to_bytes()).unwrap(), header);
        let csl = Header::new(&Content {
            format: Format::TiledCsl,
            reordered: true,
            rows: 129,
            cols: 65,
            nnz: 7,
            data_bytes: 32,
            max_block: 8,
        })
        .unwrap();
        assert_eq!(csl.table_entries, 6);
        let bf16 = Header { dtype: DType::BF16, ..csl };
        assert_eq!(bf16.to_bytes()[16..20], 14_u32.to_le_bytes());
        assert_eq!(Header::from_bytes(&bf16.to_bytes()).unwrap(), bf16);
        let mut f32 = csl.to_bytes();
        f32[16] = 0;
        assert_eq!(Header::from_bytes(&f32).unwrap_err().kind(), Kind::CorruptData);
        assert_eq!(Header::from_bytes(&csl.to_bytes()).unwrap(), csl);
    }

    #[test]
    fn every_changed_header_byte_is_refused_or_keeps_the_header_consistent() {
        let bytes = sample().to_bytes();
        for at in 0..bytes.len() {
            for flip in [1u8, 0x80, 0xff] {
                let mut damaged = bytes;
                damaged[at] ^= flip;
                if let Ok(header) = Header::from_bytes(&damaged) {
                    assert_eq!(
                        header.to_bytes(),
                        damaged,
                        "byte {at} was not part of what was read"
                    );
                }
            }
        }
    }

    #[test]
    fn huge_dimensions_do_not_overflow() {
        for rows in [u64::MAX, 1 << 63, 1 << 40] {
            let mut bytes = sample().to_bytes();
            bytes[24..32].copy_from_slice(&rows.to_le_bytes());
            bytes[32..40].copy_from_slice(&rows.to_le_bytes());
            assert_eq!(Header::from_bytes(&bytes).unwrap_err().kind(), Kind::CorruptData);
        }
    }

    #[test]
    fn a_future_version_is_a_version_mismatch() {
        let mut bytes = sample().to_bytes();
        bytes[8] = 3;
        assert_eq!(Header::from_bytes(&bytes).unwrap_err().kind(), Kind::VersionMismatch);
    }
}
