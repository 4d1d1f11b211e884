//! Banked v1: values and their places, dealt to the 32 banks of shared memory. The byte specification is
//! docs/format-banked.md.
//!
//! A block is 128 rows x 128 columns. Kernels multiply it as a dense *image* in shared memory: 256 lines of 128 bytes,
//! the rows of the left 64 columns and then those of the right 64, in which 16-byte pieces are swizzled by the row.
//! Lane `l` owns the bank, two columns (parities) of all lines, and so 2 x 256 places; its non-zeros are a stream of
//! chunks of four, first those of parity 0. So 32 lanes store to 32 banks, and a non-zero takes three bytes.

use super::header::{Header, corrupt};
use super::list::stored_bits;
use super::tile::{Tile, check_edge, reduce, scatter};
use super::{Analysis, block, blocks, changed, word};
use crate::error::Result;
use crate::types::{DenseLayout, Format};

/// Rows of a block.
pub const TILE_ROWS: usize = 128;
/// Columns of a block.
pub const TILE_COLS: usize = 128;
/// Bytes of the starts, of a plane of a row of chunks, and of one step of the table's offsets.
pub const UNIT: usize = 128;
/// Units of a block without elements.
pub const LEAST_UNITS: u32 = 1;
/// Units that a row of chunks adds to them.
pub const ROW_UNITS: u32 = (ROW / UNIT) as u32;
/// Units of a block without a zero: 64 chunks of either parity in every stream.
pub const MOST_UNITS: u32 = units_of(2 * PLACES / CHUNK);

const LANES: usize = 32;
/// Columns of either half of the image.
const HALF_COLS: usize = 64;
/// Places of a lane and parity, which are the lines of the image.
const PLACES: usize = 256;
/// Elements of a chunk.
const CHUNK: usize = 4;
/// Bytes of a row of chunks: the places, the values 0 and 1, the values 2 and 3 of every stream.
const ROW: usize = 3 * UNIT;

/// One block, dense.
pub(crate) type BlockTile = Tile<TILE_ROWS, TILE_COLS>;

const fn units_of(rows: usize) -> u32 {
    (1 + 3 * rows) as u32
}

/// (row, column) of a place.
#[inline]
const fn element(lane: usize, parity: usize, place: usize) -> (usize, usize) {
    let (row, column) = (place % TILE_ROWS, 2 * lane + parity);
    (row, place / TILE_ROWS * HALF_COLS + ((column / 8) ^ (row % 8)) * 8 + column % 8)
}

/// What the lanes have, and where their chunks go.
struct Streams {
    /// Which columns of each line of the image hold an element, a bit each.
    lines: [u64; PLACES],
    /// Columns whose last chunk is not full.
    padded: u64,
    /// Chunks of each (parity, lane).
    chunks: [[u8; LANES]; 2],
    /// Stream of each lane's parity 1.
    stream: [u8; LANES],
    /// Rows of chunks that the fullest stream needs.
    rows: usize,
    nnz: u32,
}

impl Streams {
    fn of(tile: &BlockTile) -> Self {
        let mut lines = [0u64; PLACES];
        for (line, mask) in lines.iter_mut().enumerate() {
            let row = line % TILE_ROWS;
            let half = &tile[row][line / TILE_ROWS * HALF_COLS..][..HALF_COLS];
            let mut bytes = [0; 8];
            for (octet, values) in half.chunks_exact(8).enumerate() {
                if let Some(values) = values.first_chunk() {
                    bytes[(octet ^ (row % 8)) % 8] = stored_bits(values);
                }
            }
            *mask = u64::from_le_bytes(bytes);
        }
        // All columns are counted at once: bit c of digit i is bit i of the count of column c.
        let mut digits = [0u64; 9];
        for &mask in &lines {
            let mut carry = mask;
            for digit in &mut digits {
                (*digit, carry) = (*digit ^ carry, *digit & carry);
            }
        }
        let mut nnz = 0;
        let mut chunks = [[0; LANES]; 2];
        for column in 0..HALF_COLS {
            let bits = digits.iter().enumerate().map(|(i, digit)| (digit >> column & 1) << i);
            let count = bits.sum::<u64>() as u32;
            chunks[column % 2][column / 2] = count.div_ceil(CHUNK as u32) as u8;
            nnz += count;
        }
        // The fullest streams go to the lanes that add least, so that all end close together; equals in order.
        let [first, second] = chunks;
        let mut by_first: [u8; LANES] = std::array::from_fn(|i| i as u8);
        let mut by_second = by_first;
        by_first.sort_by_key(|&s| std::cmp::Reverse(first[usize::from(s)]));
        by_second.sort_by_key(|&l| second[usize::from(l)]);
        let mut stream = [0; LANES];
        let mut rows = 0;
        for (&s, &lane) in by_first.iter().zip(&by_second) {
            stream[usize::from(lane)] = s;
            rows = rows
                .max(usize::from(first[usize::from(s)]) + usize::from(second[usize::from(lane)]));
        }
        Self { lines, padded: digits[0] | digits[1], chunks, stream, rows, nnz }
    }

    fn units(&self) -> u32 {
        units_of(self.rows)
    }

    /// Stream and first row of a lane's chunks of a parity.
    fn begin(&self, parity: usize, lane: usize) -> (usize, usize) {
        if parity == 0 {
            return (lane, 0);
        }
        let stream = usize::from(self.stream[lane]);
        (stream, usize::from(self.chunks[0][stream]))
    }

    fn start(&self, lane: usize) -> u32 {
        let (stream, row) = self.begin(1, lane);
        u32::from(self.chunks[0][lane])
            | u32::from(self.chunks[1][lane]) << 7
            | (stream as u32) << 14
            | (row as u32) << 19
    }
}

/// Writes one block over whatever `out` held; `out` is as long as the analysis said.
fn encode_block(tile: &BlockTile, streams: &Streams, out: &mut [u8]) -> Result<()> {
    if streams.units() as usize * UNIT != out.len() {
        return Err(changed());
    }
    out.fill(0);
    let (starts, rows) = out.split_at_mut(UNIT);
    for (lane, word) in starts.chunks_exact_mut(4).enumerate() {
        word.copy_from_slice(&streams.start(lane).to_le_bytes());
    }
    // Of each column: the elements before the next one in its stream, and the stream.
    let (mut next, mut stream) = ([0usize; HALF_COLS], [0usize; HALF_COLS]);
    for column in 0..HALF_COLS {
        let (its, row) = streams.begin(column % 2, column / 2);
        (next[column], stream[column]) = (row * CHUNK, its);
    }
    // Tells whether the chunk is full then.
    let mut put = |column: usize, place: usize, bits: u16| {
        let (row, j) = (next[column] / CHUNK * ROW + 4 * stream[column], next[column] % CHUNK);
        rows[row + j] = place as u8;
        let to = row + UNIT * (1 + j / 2) + 2 * (j % 2);
        rows[to..to + 2].copy_from_slice(&bits.to_le_bytes());
        next[column] += 1;
        j + 1 == CHUNK
    };
    for (place, &mask) in streams.lines.iter().enumerate() {
        let mut rest = mask;
        while rest != 0 {
            let column = rest.trailing_zeros() as usize;
            let (row, col) = element(column / 2, column % 2, place);
            put(column, place, tile[row][col]);
            rest &= rest - 1;
        }
    }
    // The rest of a chunk writes zeros where there are zeros.
    let mut padded = streams.padded;
    for (place, &mask) in streams.lines.iter().enumerate() {
        if padded == 0 {
            break;
        }
        let mut rest = padded & !mask;
        while rest != 0 {
            let column = rest.trailing_zeros() as usize;
            if put(column, place, 0) {
                padded &= !(1 << column);
            }
            rest &= rest - 1;
        }
    }
    Ok(())
}

fn new_tile() -> Box<BlockTile> {
    Box::new([[0; TILE_COLS]; TILE_ROWS])
}

/// First pass: counts and sizes every block.
pub(crate) fn analyse(layout: &DenseLayout, values: &[u16]) -> Result<Analysis> {
    let size = |_, tile: &BlockTile| {
        let streams = Streams::of(tile);
        (streams.nnz, streams.units(), ())
    };
    Ok(blocks::analyse(Format::Banked, layout, values, 4, size)?.0)
}

/// Second pass: writes the data section, whose length is the header's.
pub(crate) fn encode(
    analysis: &Analysis,
    layout: &DenseLayout,
    values: &[u16],
    data: &mut [u8],
) -> Result<()> {
    let encode = |_: &mut (), _, tile: &BlockTile, out: &mut [u8]| {
        encode_block(tile, &Streams::of(tile), out)
    };
    blocks::encode(analysis, layout, values, data, 4, || (), encode)
}

/// Writes block `index` over `tile`.
pub(crate) fn unpack(
    buffer: &[u8],
    header: &Header,
    index: usize,
    tile: &mut BlockTile,
) -> Result<()> {
    let bytes = block(buffer, header, index, LEAST_UNITS)?;
    unpack_block(bytes, tile)
        .ok_or_else(|| corrupt(format!("block {index}: it ends before its chunks")))
}

fn unpack_block(bytes: &[u8], tile: &mut BlockTile) -> Option<()> {
    *tile = [[0; TILE_COLS]; TILE_ROWS];
    for lane in 0..LANES {
        let start = word(bytes, 4 * lane)?;
        let field = |shift: u32, bits: u32| (start >> shift & ((1 << bits) - 1)) as usize;
        let parities = [(lane, 0, field(0, 7)), (field(14, 5), field(19, 7), field(7, 7))];
        for (parity, (stream, first, chunks)) in parities.into_iter().enumerate() {
            for row in first..first + chunks {
                let at = UNIT + row * ROW + 4 * stream;
                let places = word(bytes, at)?.to_le_bytes();
                let (low, high) = (word(bytes, at + UNIT)?, word(bytes, at + 2 * UNIT)?);
                let values = [low, low >> 16, high, high >> 16];
                for (place, value) in places.into_iter().zip(values) {
                    let (row, col) = element(lane, parity, usize::from(place));
                    tile[row][col] = value as u16;
                }
            }
        }
    }
    Some(())
}

/// Checks every block, the table having been checked; returns the non-zeros and the largest block in units.
/// The encoding of a block is unique: what it decodes to must give the same bytes again.
pub(crate) fn validate(buffer: &[u8], header: &Header) -> Result<(u64, u32)> {
    let visit = |range: std::ops::Range<usize>| {
        let mut tile = new_tile();
        let mut again = Vec::new();
        let mut sum = (0u64, 0u32);
        for index in range {
            let bytes = block(buffer, header, index, LEAST_UNITS)?;
            unpack(buffer, header, index, &mut tile)?;
            check_edge(header, index, &tile)?;
            let streams = Streams::of(&tile);
            let units = streams.units();
            if units as usize * UNIT != bytes.len() {
                return Err(corrupt(format!(
                    "table: block {index} has {} units, its elements need {units}",
                    bytes.len() / UNIT
                )));
            }
            again.resize(bytes.len(), 0);
            encode_block(&tile, &streams, &mut again)?;
            if let Some(at) = again.iter().zip(bytes).position(|(a, b)| a != b) {
                return Err(corrupt(format!(
                    "{}: block {index}, byte {at} is {:#04x}, its elements need {:#04x}",
                    if at < UNIT { "starts" } else { "chunks" },
                    bytes[at],
                    again[at]
                )));
            }
            sum = (sum.0 + u64::from(streams.nnz), sum.1.max(units));
        }
        Ok(sum)
    };
    reduce(0..header.table_entries as usize - 1, 16, &visit, &|a, b| (a.0 + b.0, a.1.max(b.1)))
}

/// Decodes the block at tile row `tile`, block column `block` into `out`, which begins at element `base`.
pub(crate) fn decode_block(
    buffer: &[u8],
    header: &Header,
    layout: &DenseLayout,
    (tile, block): (usize, usize),
    out: &mut [u16],
    base: usize,
) -> Result<()> {
    let (_, blocks) = header.grid();
    let mut dense = new_tile();
    unpack(buffer, header, tile * blocks as usize + block, &mut dense)?;
    scatter(layout, out, base, tile * TILE_ROWS, block * TILE_COLS, &dense);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (lane, parity, place) of an element.
    fn place(row: usize, col: usize) -> (usize, usize, usize) {
        let column = ((col % HALF_COLS / 8) ^ (row % 8)) * 8 + col % 8;
        (column / 2, column % 2, col / HALF_COLS * TILE_ROWS + row)
    }

    #[test]
    fn every_element_has_a_place_of_its_own_where_the_swizzle_says() {
        let mut seen = vec![false; TILE_ROWS * TILE_COLS];
        for row in 0..TILE_ROWS {
            for col in 0..TILE_COLS {
                let (lane, parity, at) = place(row, col);
                assert_eq!(element(lane, parity, at), (row, col));
                let byte = at * 128 + lane * 4 + parity * 2;
                let swizzled =
                    col / 64 * 16384 + row * 128 + ((col % 64 / 8) ^ (row % 8)) * 16 + col % 8 * 2;
                assert_eq!(byte, swizzled);
                assert!(!std::mem::replace(&mut seen[byte / 2], true));
            }
        }
    }

    #[test]
    fn a_dense_block_is_the_largest() {
        let units = |value| Streams::of(&[[value; TILE_COLS]; TILE_ROWS]).units();
        assert_eq!(units(0x3c00), MOST_UNITS);
        assert_eq!(units(0x8000), LEAST_UNITS);
    }

    #[test]
    fn streams_of_a_random_block_end_close_together() {
        let mut tile = new_tile();
        for (i, value) in tile.iter_mut().flatten().enumerate() {
            let mut x = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *value = if (x >> 33) % 5 == 0 { 0x3c00 } else { 0 };
        }
        let streams = Streams::of(&tile);
        let least = f64::from(streams.nnz) / (LANES * CHUNK) as f64;
        assert!(streams.rows as f64 <= 1.15 * least, "{} rows, at least {least}", streams.rows);
    }
}
