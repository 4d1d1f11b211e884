//! A part of a compressed matrix as a matrix of its own: whole blocks are copied, and header and table are
//! made anew. The bytes are those that compressing the part of the dense matrix gives; of Slots with the same
//! dense rows, which are chosen by all columns.

use std::ops::Range;

use super::header::{Content, Header};
use super::{corrupt, table_entry, tiled_csl, validate_blocks};
use crate::error::{Error, Kind, Result};
use crate::types::Format;

/// Which blocks of a matrix make up a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    rows: u64,
    cols: u64,
    tiles: Range<usize>,
    blocks: Range<usize>,
    /// Blocks in a row of tiles of the whole matrix.
    stride: usize,
}

impl Part {
    /// The part of rows and columns, which begin at a multiple of the tile and end at one or with the matrix.
    pub fn new(header: &Header, rows: Range<u64>, cols: Range<u64>) -> Result<Self> {
        let along = |name: &str, range: &Range<u64>, size: u64, tile: u64| {
            let refuse = |what: &str, value: u64, needs: String| {
                Err(Error::invalid(format!("{name}{what} = {value}, needs {needs}")))
            };
            if range.end > size {
                return refuse("End", range.end, format!("at most the matrix's {size}"));
            }
            if range.start >= range.end {
                return refuse(
                    "Begin",
                    range.start,
                    format!("less than {name}End = {}", range.end),
                );
            }
            if range.start % tile != 0 {
                return refuse("Begin", range.start, format!("a multiple of the tile's {tile}"));
            }
            if range.end % tile != 0 && range.end != size {
                let needs = format!("a multiple of the tile's {tile}, or the matrix's end {size}");
                return refuse("End", range.end, needs);
            }
            // The matrix was checked, so that its blocks are addressable.
            Ok((range.start / tile) as usize..range.end.div_ceil(tile) as usize)
        };
        let tiles = along("row", &rows, header.rows, u64::from(header.tile_rows))?;
        let blocks = along("col", &cols, header.cols, u64::from(header.tile_cols))?;
        Ok(Self {
            rows: rows.end - rows.start,
            cols: cols.end - cols.start,
            tiles,
            blocks,
            stride: header.grid().1 as usize,
        })
    }

    /// Offsets of the part's blocks in each row of tiles, in units, from the front (header and table).
    fn runs<'a>(&'a self, front: &'a [u8]) -> impl Iterator<Item = Result<Range<u32>>> + 'a {
        self.tiles.clone().map(move |tile| {
            let first = tile * self.stride;
            let start = table_entry(front, first + self.blocks.start)?;
            let end = table_entry(front, first + self.blocks.end)?;
            if start > end {
                return Err(corrupt(format!("table: a row of blocks is {start}..{end}")));
            }
            Ok(start..end)
        })
    }

    /// The bytes of the whole matrix's data that hold all blocks of the part, and perhaps others.
    pub fn span(&self, header: &Header, front: &[u8]) -> Result<Range<usize>> {
        let unit = header.unit_bytes() as usize;
        let (mut low, mut high) = (u32::MAX, 0);
        for run in self.runs(front) {
            let run = run?;
            (low, high) = (low.min(run.start), high.max(run.end));
        }
        let range = low.min(high) as usize * unit..high as usize * unit;
        if range.end as u64 > header.data_bytes {
            return Err(corrupt("table: a block ends behind the data"));
        }
        Ok(range)
    }

    /// The part's header but for nnz, which only the data tell.
    fn provisional(&self, header: &Header, front: &[u8]) -> Result<Header> {
        let mut units = 0u64;
        for run in self.runs(front) {
            units += u64::from(run?.len() as u32);
        }
        let mut largest = 0;
        for tile in self.tiles.clone() {
            for block in self.blocks.clone() {
                let index = tile * self.stride + block;
                let size = table_entry(front, index + 1)?.checked_sub(table_entry(front, index)?);
                largest = largest.max(size.ok_or_else(|| corrupt("table: it falls"))?);
            }
        }
        let max_block = match header.format {
            Format::TiledCsl => largest.checked_mul(tiled_csl::VECTOR as u32),
            Format::Banked | Format::Bitmap | Format::Sell | Format::Slots => Some(largest),
        };
        let mut part = Header::new(&Content {
            format: header.format,
            reordered: header.reordered,
            rows: self.rows,
            cols: self.cols,
            nnz: 0,
            data_bytes: units * header.unit_bytes(),
            max_block: max_block.ok_or_else(|| corrupt("table: a block is too large"))?,
        })?;
        part.dtype = header.dtype;
        Ok(part)
    }

    /// Bytes of the part's compressed buffer. `front` is the whole matrix's header and table.
    pub fn bytes(&self, header: &Header, front: &[u8]) -> Result<usize> {
        Ok(self.provisional(header, front)?.total_bytes as usize)
    }

    /// Writes the part's compressed buffer. `span` is [`Part::span`] of the data, which begins at its start;
    /// the matrix was checked or written by this library. After an error `out` is unspecified.
    pub fn write(
        &self,
        header: &Header,
        front: &[u8],
        span: &[u8],
        out: &mut [u8],
    ) -> Result<Header> {
        let mut part = self.provisional(header, front)?;
        let (needed, given) = (part.total_bytes as usize, out.len());
        let Some(out) = out.get_mut(..needed) else {
            return Err(Error::new(
                Kind::WorkspaceTooSmall,
                format!("bytes = {given}, and the part needs {needed}"),
            ));
        };
        let unit = header.unit_bytes() as usize;
        let base = self.span(header, front)?.start;
        let (table, data) = out.split_at_mut(part.data_offset as usize);
        table.fill(0);
        let mut at = 0;
        let mut end = 0u32;
        let mut entries = table[Header::BYTES..].chunks_exact_mut(4);
        let mut put = |entry: u32| {
            if let Some(bytes) = entries.next() {
                bytes.copy_from_slice(&entry.to_le_bytes());
            }
        };
        put(0);
        for (tile, run) in self.tiles.clone().zip(self.runs(front)) {
            let run = run?;
            let from = (run.start as usize * unit).wrapping_sub(base);
            let bytes = span
                .get(from..from.wrapping_add(run.len() * unit))
                .ok_or_else(|| Error::new(Kind::InternalError, "the span lacks a block"))?;
            data[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
            let first = tile * self.stride;
            for block in self.blocks.clone() {
                end += table_entry(front, first + block + 1)? - table_entry(front, first + block)?;
                put(end);
            }
        }
        // What Tiled-CSL has behind the last tile's end.
        for _ in part.blocks() + 1..part.table_entries as usize {
            put(end);
        }
        let (nnz, _) = validate_blocks(out, &part)?;
        part.nnz = nnz;
        out[..Header::BYTES].copy_from_slice(&part.to_bytes());
        Ok(part)
    }
}

/// [`Part::bytes`] for a matrix in host memory.
pub fn slice_bytes(buffer: &[u8], rows: Range<u64>, cols: Range<u64>) -> Result<usize> {
    let header = super::parse_header(buffer)?;
    Part::new(&header, rows, cols)?.bytes(&header, buffer)
}

/// [`Part::write`] for a matrix in host memory.
pub fn slice(buffer: &[u8], rows: Range<u64>, cols: Range<u64>, out: &mut [u8]) -> Result<Header> {
    let header = super::parse_header(buffer)?;
    let part = Part::new(&header, rows, cols)?;
    let span = part.span(&header, buffer)?;
    let data = header.data_offset as usize;
    part.write(&header, buffer, &buffer[data + span.start..data + span.end], out)
}
