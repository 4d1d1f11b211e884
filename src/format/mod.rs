//! Compressed matrix formats: specification, CPU encode, decode and validate.
//!
//! A compressed matrix is one contiguous buffer that describes itself (header, table, data). The GPU
//! never sees a buffer that [`validate`] has not accepted or that this library has not written.
//! All functions use the cores of the library's pool, or of the rayon pool that they are called in; their results do not
//! depend on how many.
#![forbid(unsafe_code)]

mod arrangement;
pub mod banked;
mod banks;
pub mod bitmap;
mod blocks;
pub mod csr;
pub(crate) mod fragments;
pub mod header;
pub(crate) mod list;
mod measured;
pub mod sell;
pub mod slice;
pub mod slots;
mod tile;
pub mod tiled_csl;

pub use header::Header;
pub use measured::Measured;

use arrangement::Arrangement;

use crate::error::{Error, Kind, Result};
use crate::pool;
use crate::types::{DType, DenseLayout, Format, Preference};
use header::corrupt;

/// What the encoder may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// `None` lets the library choose (FORMAT_AUTO).
    pub format: Option<Format>,
    /// Tiled-CSL: order items so that the 32 lanes of a store hit different banks.
    pub reorder: bool,
    /// AUTO's choice of format.
    pub preference: Preference,
}

/// Result of [`analyse`]: everything [`encode`] needs, and the exact size of the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analysis {
    /// The header that encode will write.
    pub header: Header,
    /// The offset table that encode will write.
    pub table: Vec<u32>,
    /// Slots: the order of each block's columns, of which the search is most of the work. Empty for other formats, and for
    /// analyses on a device, which leave orders in the caller's workspace.
    pub(crate) orders: Vec<Arrangement>,
    /// Slots: the dense rows of each tile, a bit each, which take another pass over the matrix. Empty as `orders` are.
    pub(crate) dense_rows: Vec<u32>,
}

impl Analysis {
    /// One without orders and dense rows. Those of a device have no table either: what convert needs is in the caller's workspace.
    pub(crate) fn new(header: Header, table: Vec<u32>) -> Self {
        Self { header, table, orders: Vec::new(), dense_rows: Vec::new() }
    }

    /// Bytes of the compressed buffer.
    pub fn bytes(&self) -> usize {
        self.header.total_bytes as usize
    }

    /// The same for elements of another 16-bit type: the formats look at nothing but whether an element is zero,
    /// which has the same bits in all of them.
    #[must_use]
    pub fn of_type(mut self, dtype: DType) -> Self {
        self.header.dtype = dtype;
        self
    }

    /// Table and orders agree with the header, so that slicing the data by it cannot fail.
    fn check(&self) -> Result<()> {
        self.header.check()?;
        let units = self.header.data_bytes / self.header.unit_bytes();
        let consistent = self.table.len() as u64 == self.header.table_entries
            && self.table.is_sorted()
            && self.table.first() == Some(&0)
            && self.table.last().is_some_and(|&end| u64::from(end) == units);
        let (least, _) = self.header.block_units();
        let room = self
            .table
            .windows(2)
            .take(self.header.blocks())
            .all(|w| w[0].checked_add(least).is_some_and(|end| w[1] >= end));
        let (orders, dense_rows) = match self.header.format {
            Format::Slots => (self.header.blocks(), self.header.grid().0 as usize),
            _ => (0, 0),
        };
        let noted = (self.orders.len(), self.dense_rows.len()) == (orders, dense_rows);
        if consistent && room && noted {
            Ok(())
        } else {
            Err(Error::invalid("the analysis contradicts its header"))
        }
    }
}

/// First pass over dense fp16 bits: chooses the format, counts, sizes every block.
pub fn analyse(layout: &DenseLayout, values: &[u16], options: &EncodeOptions) -> Result<Analysis> {
    check_dense(layout, values.len())?;
    let one = |format, extent: Extent| {
        let layout = &DenseLayout { rows: extent.rows(layout.rows), ..*layout };
        match format {
            Format::Bitmap => fragments::analyse::<bitmap::Block>(layout, values),
            Format::TiledCsl => tiled_csl::analyse(layout, values, options.reorder),
            Format::Slots => slots::analyse(layout, values),
            Format::Banked => fragments::analyse::<banked::Block>(layout, values),
            Format::Sell => sell::analyse(layout, values),
        }
    };
    pool::run(|| match options.format {
        Some(format) => one(format, Extent::Whole),
        None => choose(one(Format::Bitmap, Extent::Whole)?, one, options.preference),
    })
}

/// What FORMAT_AUTO allows the largest block of Slots, of one of average rows. 14336 x 7168 with random masks has 1.1 to 1.3, with
/// uneven columns 1.2 to 1.4, with uneven rows 1.4 to 1.9, and with full patches 3 and more, at 63 to 99.5 % zeros.
const MOST_UNEVEN: f64 = 1.375;

/// Rows of matrices with which the kernels of Slots have a tile of 32 rows for each multiprocessor of an H100 or H200, or somewhat
/// fewer, and too few warps: Banked takes less time from 75 % zeros on.
const FEW_ROWS: std::ops::RangeInclusive<u64> = 2561..=4096;

/// How much of a matrix [`choose`] wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Its first rows, whose size says whether the whole is worth the time.
    Sample,
}

impl Extent {
    /// Of so many rows.
    pub fn rows(self, rows: usize) -> usize {
        /// Rows of a sample: of every format some tiles.
        const SAMPLE: usize = 256;
        match self {
            Self::Whole => rows,
            Self::Sample => rows.min(SAMPLE),
        }
    }
}

/// FORMAT_AUTO. For speed, Bitmap below 62 % zeros and from there on Slots, which overtakes it between 56 and 65 %
/// (docs/kernels.md), or Banked where that takes less time: with [`FEW_ROWS`], and from 81 to 88 % zeros (with 8 columns at most from 83
/// to 87), where Slots takes as long as at 80, until most blocks have one slot a group for two; and where some rows or patches are so
/// much fuller than others that Slots would wait for them. For more than 24 columns, Banked from 63 % on. With 8 columns at most, SELL
/// from 92 % on. For size, the smaller of Bitmap and Tiled-CSL. Below 62 % zeros a sample says whether the matrix is one of groups of
/// four neighbours, of which Slots has fewer bytes than Bitmap. Only the headers are looked at.
pub fn choose(
    bitmap: Analysis,
    mut other: impl FnMut(Format, Extent) -> Result<Analysis>,
    preference: Preference,
) -> Result<Analysis> {
    let Header { rows, cols, nnz, .. } = bitmap.header;
    let most =
        |permille: u128| u128::from(nnz) * 1000 <= u128::from(rows) * u128::from(cols) * permille;
    let beats_slots =
        |least, greatest| !most(least) && most(greatest) || FEW_ROWS.contains(&rows) && most(250);
    let by_speed = matches!(preference, Preference::Speed | Preference::FewColumns);
    // As many elements as 2:4 has: where groups of four have no more than two, Slots has fewer bytes than Bitmap, and is faster.
    let grouped = by_speed && most(510) && !most(380) && !FEW_ROWS.contains(&rows) && {
        let of_a_row = |a: &Analysis| a.bytes() as f64 / a.header.rows as f64;
        of_a_row(&other(Format::Slots, Extent::Sample)?) < of_a_row(&bitmap)
    };
    let mut whole = |format| other(format, Extent::Whole);
    let found = match preference {
        Preference::Size => whole(Format::TiledCsl),
        Preference::FewColumns if most(80) => whole(Format::Sell),
        Preference::FewColumns if beats_slots(125, 175) => whole(Format::Banked),
        Preference::Speed if beats_slots(115, 195) => whole(Format::Banked),
        _ if grouped => whole(Format::Slots),
        Preference::Speed | Preference::FewColumns if most(380) => match whole(Format::Slots) {
            Ok(slots) if slots.header.fullest() > MOST_UNEVEN => whole(Format::Banked),
            slots => slots,
        },
        Preference::Columns if most(370) => whole(Format::Banked),
        _ => return Ok(bitmap),
    };
    let by_size = grouped || preference == Preference::Size;
    match found {
        Ok(found) if !by_size || found.bytes() < bitmap.bytes() => Ok(found),
        // Larger than the other format can address: Bitmap can.
        Err(error) if error.kind() != Kind::SizeOverflow => Err(error),
        _ => Ok(bitmap),
    }
}

/// Second pass: writes the whole buffer (`out.len() >= analysis.bytes()`), deterministic bytes.
///
/// `values` must be those that were analysed. The call fails when a block needs another size than was analysed, or
/// all of them store more or fewer elements: what it writes is always a matrix that [`validate`] accepts.
pub fn encode(
    analysis: &Analysis,
    layout: &DenseLayout,
    values: &[u16],
    out: &mut [u8],
) -> Result<()> {
    check_dense(layout, values.len())?;
    analysis.check()?;
    check_shape(&analysis.header, layout)?;
    let (bytes, given) = (analysis.bytes(), out.len());
    let Some(out) = out.get_mut(..bytes) else {
        return Err(Error::new(
            Kind::WorkspaceTooSmall,
            format!("the compressed buffer has {given} bytes, the analysis needs {bytes}"),
        ));
    };
    let (front, data) = out.split_at_mut(analysis.header.data_offset as usize);
    let (head, table) = front.split_at_mut(Header::BYTES);
    head.copy_from_slice(&analysis.header.to_bytes());
    let (table, gap) = table.split_at_mut(analysis.table.len() * 4);
    for (bytes, entry) in table.chunks_exact_mut(4).zip(&analysis.table) {
        bytes.copy_from_slice(&entry.to_le_bytes());
    }
    gap.fill(0);
    let stored = pool::run(|| match analysis.header.format {
        Format::Bitmap => fragments::encode::<bitmap::Block>(analysis, layout, values, data),
        Format::TiledCsl => tiled_csl::encode(analysis, layout, values, data),
        Format::Slots => slots::encode(analysis, layout, values, data),
        Format::Banked => fragments::encode::<banked::Block>(analysis, layout, values, data),
        Format::Sell => sell::encode(analysis, layout, values, data),
    })?;
    // The largest block is the header's: each was compared with the table.
    if stored == analysis.header.nnz { Ok(()) } else { Err(changed()) }
}

/// Reads the header and checks it against the buffer's length; does not walk the data.
pub fn parse_header(buffer: &[u8]) -> Result<Header> {
    let header = Header::from_bytes(buffer)?;
    if header.total_bytes > buffer.len() as u64 {
        return Err(corrupt(format!(
            "header: total bytes = {}, the buffer has {}",
            header.total_bytes,
            buffer.len()
        )));
    }
    Ok(header)
}

/// How much of a buffer is checked before it is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Every byte: for bytes that anybody may have made.
    #[default]
    Full,
    /// Header, table, and the checksum that is stored beside the buffer: damage is found, malice is not.
    Checksum,
    /// Header and table: for bytes whose checksum was verified before.
    Header,
}

/// Full check: every byte of the buffer is consistent with the specification. Bytes after the header's
/// `total bytes` are not part of the matrix and are not looked at.
pub fn validate(buffer: &[u8]) -> Result<Header> {
    let header = validate_front(buffer)?;
    let (nnz, max_block) = validate_blocks(buffer, &header)?;
    if nnz != header.nnz {
        return Err(corrupt(format!("header: nnz = {}, the data stores {nnz}", header.nnz)));
    }
    if max_block != header.max_block {
        return Err(corrupt(format!(
            "header: max block = {}, the largest is {max_block}",
            header.max_block
        )));
    }
    Ok(header)
}

/// Checks every block, the table having been checked; returns the non-zeros and the largest block in units (items of Tiled-CSL).
fn validate_blocks(buffer: &[u8], header: &Header) -> Result<(u64, u32)> {
    pool::run(|| match header.format {
        Format::Bitmap => fragments::validate::<bitmap::Block>(buffer, header),
        Format::TiledCsl => tiled_csl::validate(buffer, header),
        Format::Slots => slots::validate(buffer, header),
        Format::Banked => fragments::validate::<banked::Block>(buffer, header),
        Format::Sell => sell::validate(buffer, header),
    })
}

/// The part of [`validate`] that does not look into the blocks: header, table, and the gap behind it. Every
/// block then has a size that a block can have, and lies in the data.
pub fn validate_front(buffer: &[u8]) -> Result<Header> {
    let header = parse_header(buffer)?;
    let table_end = Header::BYTES + header.table_entries as usize * 4;
    let gap = &buffer[table_end..header.data_offset as usize];
    if let Some(at) = gap.iter().position(|&byte| byte != 0) {
        return Err(corrupt(format!(
            "table padding: byte {} is {:#04x}, needs zero",
            table_end + at,
            gap[at]
        )));
    }
    check_table(buffer, &header)?;
    Ok(header)
}

/// The table starts at 0, never falls, ends with the data, and gives each block a size it can have.
fn check_table(buffer: &[u8], header: &Header) -> Result<()> {
    let units = header.data_bytes / header.unit_bytes();
    let (least, most) = header.block_units();
    let last = header.table_entries as usize - 1;
    let blocks = header.blocks();
    let mut previous = table_entry(buffer, 0)?;
    if previous != 0 {
        return Err(corrupt(format!("table: entry 0 = {previous}, needs 0")));
    }
    for index in 1..=last {
        let entry = table_entry(buffer, index)?;
        if index > blocks && entry != previous {
            return Err(corrupt(format!(
                "table: entry {index} = {entry}, needs entry {blocks} = {previous} again"
            )));
        }
        let possible = |size| index > blocks || (least..=most).contains(&size);
        let fits = entry.checked_sub(previous).is_some_and(possible);
        if !fits {
            return Err(corrupt(format!(
                "table: block {} is {previous}..{entry} (entry {index} = {entry}), needs {least} to {most} units",
                index - 1
            )));
        }
        previous = entry;
    }
    if u64::from(previous) != units {
        let unit = header.unit_bytes();
        return Err(corrupt(format!(
            "table: last entry {last} = {previous}, needs data bytes / {unit} = {units}"
        )));
    }
    Ok(())
}

/// Writes every element of the dense matrix (zeros too); elements outside it (ld padding) stay.
///
/// A buffer that [`validate`] would refuse gives an error or a wrong matrix, never an access outside
/// `buffer` or `out`. After an error the contents of `out` are unspecified.
pub fn decode(buffer: &[u8], layout: &DenseLayout, out: &mut [u16]) -> Result<()> {
    check_dense(layout, out.len())?;
    let header = parse_header(buffer)?;
    check_shape(&header, layout)?;
    let h = &header;
    pool::run(|| match header.format {
        Format::Bitmap => blocks::decode(h, layout, out, |index, tile| {
            fragments::unpack::<bitmap::Block>(buffer, h, index, tile)
        }),
        Format::TiledCsl => blocks::decode(h, layout, out, |index, tile| {
            tiled_csl::unpack::<{ tiled_csl::TILE_COLS }>(buffer, h, Some(index), 0, tile)
        }),
        Format::Slots => blocks::decode(h, layout, out, |index, tile| {
            slots::unpack(buffer, h, index, tile).map(drop)
        }),
        Format::Banked => blocks::decode(h, layout, out, |index, tile| {
            fragments::unpack::<banked::Block>(buffer, h, index, tile)
        }),
        Format::Sell => {
            blocks::decode(h, layout, out, |index, tile| sell::unpack(buffer, h, index, tile))
        }
    })
}

/// Entry `index` of the table of a buffer whose header has been parsed.
#[inline]
fn table_entry(buffer: &[u8], index: usize) -> Result<u32> {
    let at = Header::BYTES + index * 4;
    match buffer.get(at..at + 4) {
        Some(b) => Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        None => Err(corrupt(format!("table: entry {index} lies outside the buffer"))),
    }
}

/// Block `index` of a buffer whose header has been parsed, found through the table; it has `least` units.
fn block<'a>(buffer: &'a [u8], header: &Header, index: usize, least: u32) -> Result<&'a [u8]> {
    let (start, end) = (table_entry(buffer, index)?, table_entry(buffer, index + 1)?);
    let unit = header.unit_bytes() as usize;
    let at = |units: u32| header.data_offset as usize + units as usize * unit;
    let found = buffer.get(at(start)..at(end));
    found.filter(|bytes| bytes.len() >= least as usize * unit).ok_or_else(|| {
        let units = if least == 1 { "unit" } else { "units" };
        corrupt(format!(
            "table: block {index} is {start}..{end}, needs {least} {units} or more within the data"
        ))
    })
}

/// Four bytes of a block.
#[inline]
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*four))
}

fn check_dense(layout: &DenseLayout, len: usize) -> Result<()> {
    DenseLayout::new(layout.rows, layout.cols, layout.ld, layout.order)?;
    for (name, value) in [("rows", layout.rows), ("cols", layout.cols)] {
        if value == 0 {
            return Err(Error::invalid(format!(
                "{name} = 0 of the dense matrix, needs at least 1"
            )));
        }
    }
    if len < layout.extent() {
        return Err(Error::invalid(format!(
            "the dense matrix has {len} elements, its layout needs {}",
            layout.extent()
        )));
    }
    Ok(())
}

fn check_shape(header: &Header, layout: &DenseLayout) -> Result<()> {
    if (header.rows, header.cols) != (layout.rows as u64, layout.cols as u64) {
        return Err(Error::invalid(format!(
            "the dense matrix is {} x {}, the compressed one {} x {}",
            layout.rows, layout.cols, header.rows, header.cols
        )));
    }
    Ok(())
}

fn changed() -> Error {
    Error::invalid("the dense values are not those that were analysed")
}
