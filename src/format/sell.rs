//! SELL v1: rows as sliced lists of column deltas and values, dealt to the bank groups of shared memory. The byte
//! specification is docs/format-sell.md.
//!
//! Kernels hold a row of B for each column of a block in shared memory, 16 bytes of it twice: in one of the eight
//! 16-byte *lanes* of the 128-byte line *place*, and in another lane of the next line. A row of A is eight lists, one a
//! lane, so that the entries of a step read eight different groups of banks; an element goes to the shorter of the two
//! lists that it may be in, so that the lists of a row end close together. Four rows are a slice, whose length is that of
//! its longest list: the 32 rows of a block are sorted so that the rows of a slice are about as long.

use std::array::from_fn;
use std::cmp::Reverse;
use std::fmt::Display;

use super::header::{Header, corrupt};
use super::list::stored_bits;
use super::tile::{Tile, check_edge};
use super::{Analysis, block, blocks, changed, word};
use crate::error::Result;
use crate::types::{DenseLayout, Format, boxed};

/// Rows of a block.
pub const TILE_ROWS: usize = 32;
/// Columns of a block.
pub const TILE_COLS: usize = 2048;
/// Bytes of one step of the table's offsets.
pub const UNIT: usize = 128;
/// Units of a block without elements.
pub const LEAST_UNITS: u32 = 1;
/// Units of a block without a zero: 256 steps in every slice.
pub const MOST_UNITS: u32 = (HEAD + SLICES * slice_bytes(STEPS)).div_ceil(UNIT) as u32;

/// Lists of a row, and columns that share two lines of B.
const LANES: usize = 8;
/// Rows of a slice.
const SLICE_ROWS: usize = 4;
const SLICES: usize = TILE_ROWS / SLICE_ROWS;
/// Lines of B: two for every octet of columns.
const PLACES: usize = 2 * TILE_COLS / LANES;
const OCTETS: usize = TILE_COLS / LANES;
/// Steps of a row, at most: an octet lengthens the longest list by no more than one, and a filler stands for 31 octets.
const STEPS: usize = OCTETS;
/// Steps of a packet.
const PACKET: usize = 16;
/// Bytes of a word of every lane of a slice's rows, of which a packet has one to three.
const WORDS: usize = 4 * LANES * SLICE_ROWS;
/// Bytes of a step's values.
const VALUES: usize = 2 * LANES * SLICE_ROWS;
const PACKET_BYTES: usize = packet_bytes(PACKET);
/// Bytes of the ends, the order and zeros, and the unit of the ends.
const HEAD: usize = 64;
const ORDER: usize = 2 * SLICES;
const ORDERED: usize = ORDER + TILE_ROWS;
/// The largest delta, and that of a filler.
const REACH: usize = 63;
/// Where a row of a slice has its values.
const POSITION: [usize; SLICE_ROWS] = [0, 2, 1, 3];

/// What turns a column's number in its octet into its lane at a place, and back.
const SWIZZLE: [u8; PLACES] = {
    let mut table = [0; PLACES];
    let mut place = 0;
    while place < PLACES {
        let octet = place / 2;
        let apart = octet / 8 % 8;
        let copy = if apart == 0 { 5 } else { apart };
        table[place] = (2 * (octet % 4) + octet / 4 % 2) as u8 ^ (place % 2 * copy) as u8;
        place += 1;
    }
    table
};

/// One block, dense.
pub(crate) type BlockTile = Tile<TILE_ROWS, TILE_COLS>;

/// Words of a lane in a packet of so many steps.
const fn words(steps: usize) -> usize {
    match steps {
        0 => 0,
        1..=4 => 1,
        5..=8 => 2,
        _ => 3,
    }
}

const fn packet_bytes(steps: usize) -> usize {
    WORDS * words(steps) + VALUES * steps
}

const fn slice_bytes(steps: usize) -> usize {
    steps / PACKET * PACKET_BYTES + packet_bytes(steps % PACKET)
}

/// Steps of a packet of so many bytes, at most [`PACKET_BYTES`].
fn packet_steps(bytes: usize) -> Option<usize> {
    let words = match bytes {
        0..=384 => 1,
        385..=768 => 2,
        _ => 3,
    };
    bytes.checked_sub(WORDS * words).map(|values| values / VALUES).filter(|&steps| steps > 0)
}

/// Where the values of a step are behind the words of a packet of `steps`: those of the first two lanes, and how far on
/// those of the next two are.
#[inline]
const fn values_at(steps: usize, step: usize, row: usize) -> (usize, usize) {
    let (group, step_of) = (step / 4 * 4 * VALUES, step % 4);
    if step | 3 < steps {
        (group + VALUES * POSITION[row] + 4 * step_of, 16)
    } else {
        (group + VALUES * step_of + 16 * POSITION[row], 4)
    }
}

#[inline]
fn lane(x: usize, place: usize) -> usize {
    (x ^ usize::from(SWIZZLE[place % PLACES])) % LANES
}

/// Something of every row of a block: rows differ in which elements they have and not in where those may go, so that
/// an octet of all of them is dealt with vector instructions and without a branch. Conditions are -1 or 0.
type Column = [i16; TILE_ROWS];

/// A lane of every row.
#[derive(Clone, Copy)]
struct Lane {
    /// Entries.
    count: Column,
    /// Place of the last entry.
    last: Column,
}

impl Lane {
    /// Appends fillers to a lane that gets entries in an octet whose first place is `place`, `first` at it and `second`
    /// behind it; the entries have been counted.
    #[inline]
    fn append(&mut self, row: usize, place: i16, first: i16, second: i16) {
        let (last, any) = (self.last[row], first | second);
        let gap = place + 1 + first - last;
        // (gap - 1) / 63 for gaps of 1 to 511, and 0 for none.
        let fillers = ((i32::from(gap) * 1040) >> 16) as i16;
        self.count[row] += fillers & any;
        self.last[row] = last ^ ((last ^ (place - second)) & any);
    }
}

/// Which elements a block has, which of them are in their second lane, and the shape that follows.
struct Dealt {
    /// Bit x of a row and octet: column x.
    stored: [[u8; OCTETS]; TILE_ROWS],
    second: [[u8; OCTETS]; TILE_ROWS],
    shape: Shape,
}

impl Dealt {
    fn of(tile: &BlockTile) -> Self {
        let mut stored = [[0; OCTETS]; TILE_ROWS];
        let mut second = [[0; OCTETS]; TILE_ROWS];
        let mut nnz = 0;
        for (row, stored) in tile.iter().zip(&mut stored) {
            for (values, stored) in row.chunks_exact(LANES).zip(stored) {
                if let Some(values) = values.first_chunk() {
                    *stored = stored_bits(values);
                    nnz += stored.count_ones();
                }
            }
        }
        let mut lanes = [Lane { count: [0; TILE_ROWS], last: [0; TILE_ROWS] }; LANES];
        for octet in 0..OCTETS {
            let bits: Column = from_fn(|row| i16::from(stored[row][octet]));
            if bits.iter().all(|&bits| bits == 0) {
                continue;
            }
            let place = 2 * octet;
            let mut moved: Column = [0; TILE_ROWS];
            // Two columns share two lanes, and only they do.
            for x in 0..LANES {
                let y = lane(lane(x, place), place + 1);
                if x < y {
                    let (a, b) = (lane(x, place), lane(y, place));
                    let (mut of_a, mut of_b) = (lanes[a], lanes[b]);
                    deal_pair(&bits, place as i16, (x, y), (&mut of_a, &mut of_b), &mut moved);
                    (lanes[a], lanes[b]) = (of_a, of_b);
                }
            }
            for (row, moved) in second.iter_mut().zip(moved) {
                row[octet] = moved as u8;
            }
        }
        let steps =
            from_fn(|row| lanes.iter().fold(0, |most, lane| lane.count[row].max(most)) as usize);
        Self { stored, second, shape: Shape::new(nnz, steps) }
    }
}

/// Deals the columns `x` < `y` of an octet to the lanes `a` (the first of x and the second of y) and `b`: each to the
/// shorter one or, of equals, to the one that has had nothing for longer, and if that is equal, to its first.
#[inline]
fn deal_pair(
    bits: &Column,
    place: i16,
    (x, y): (usize, usize),
    (a, b): (&mut Lane, &mut Lane),
    moved: &mut Column,
) {
    for row in 0..TILE_ROWS {
        let (of_x, of_y) = (-(bits[row] >> x & 1), -(bits[row] >> y & 1));
        let (last_a, last_b) = (a.last[row], b.last[row]);
        let less = |one: (i16, i16), other: (i16, i16)| {
            -i16::from((one.0 < other.0) | (one.0 == other.0) & (one.1 < other.1))
        };
        let second_x = less((b.count[row], last_b), (a.count[row], last_a)) & of_x;
        let first_x = of_x & !second_x;
        a.count[row] -= first_x;
        b.count[row] -= second_x;
        let second_y = less((a.count[row], last_a), (b.count[row], last_b)) & of_y;
        let first_y = of_y & !second_y;
        a.count[row] -= second_y;
        b.count[row] -= first_y;
        a.append(row, place, first_x, second_y);
        b.append(row, place, first_y, second_x);
        moved[row] |= second_x & 1 << x | second_y & 1 << y;
    }
}

/// How long the rows of a block are.
struct Shape {
    nnz: u32,
    steps: [usize; TILE_ROWS],
    /// Rows, the longest first.
    order: [u8; TILE_ROWS],
}

impl Shape {
    fn new(nnz: u32, steps: [usize; TILE_ROWS]) -> Self {
        let mut order = from_fn(|row| row as u8);
        order.sort_by_key(|&row| Reverse(steps[usize::from(row)]));
        Self { nnz, steps, order }
    }

    /// The rows of each slice, and its steps.
    fn slices(&self) -> impl Iterator<Item = (&[u8], usize)> {
        self.order.chunks_exact(SLICE_ROWS).map(|rows| (rows, self.steps[usize::from(rows[0])]))
    }

    fn units(&self) -> u32 {
        let bytes: usize = self.slices().map(|(_, steps)| slice_bytes(steps)).sum();
        (HEAD + bytes).div_ceil(UNIT) as u32
    }
}

/// The entries of a block, of each row and step those of the eight lanes; zeros where a lane has none.
struct Lists {
    deltas: Box<[[[u8; LANES]; STEPS]; TILE_ROWS]>,
    values: Box<[[[u16; LANES]; STEPS]; TILE_ROWS]>,
    /// Steps of each row that may not be zero.
    used: [usize; TILE_ROWS],
}

impl Lists {
    fn new() -> Result<Self> {
        Ok(Self {
            deltas: boxed([[0; LANES]; STEPS], "a block's lists")?,
            values: boxed([[0; LANES]; STEPS], "a block's lists")?,
            used: [0; TILE_ROWS],
        })
    }

    /// Takes a block's elements instead of those before.
    fn deal(&mut self, tile: &BlockTile) -> Shape {
        let Dealt { stored, second, shape } = Dealt::of(tile);
        for (row, elements) in tile.iter().enumerate() {
            let (deltas, values) = (&mut self.deltas[row], &mut self.values[row]);
            let used = std::mem::replace(&mut self.used[row], shape.steps[row]);
            deltas[..used].fill([0; LANES]);
            values[..used].fill([0; LANES]);
            let mut ends = [(0, 0); LANES];
            let octets = elements.chunks_exact(LANES).zip(stored[row].iter().zip(&second[row]));
            for (octet, (elements, (&stored, &second))) in octets.enumerate() {
                // Those at the first place come before those at the second one.
                let mut rest = u32::from(stored & !second) | u32::from(second) << LANES;
                while rest != 0 {
                    let bit = rest.trailing_zeros() as usize;
                    let (x, place) = (bit % LANES, 2 * octet + bit / LANES);
                    let lane = lane(x, place);
                    let (mut step, mut last): (usize, usize) = ends[lane];
                    while place - last > REACH {
                        deltas[step][lane] = REACH as u8;
                        (step, last) = (step + 1, last + REACH);
                    }
                    deltas[step][lane] = (place - last) as u8;
                    values[step][lane] = elements[x];
                    ends[lane] = (step + 1, place);
                    rest &= rest - 1;
                }
            }
        }
        shape
    }

    /// Writes one block over whatever `out` held; `out` is as long as the analysis said.
    fn encode(&self, shape: &Shape, out: &mut [u8]) -> Result<()> {
        if shape.units() as usize * UNIT != out.len() {
            return Err(changed());
        }
        let (head, slices) = out.split_at_mut(HEAD);
        head.fill(0);
        head[ORDER..ORDERED].copy_from_slice(&shape.order);
        let mut at = 0;
        for ((rows, steps), end) in shape.slices().zip(head.chunks_exact_mut(2)) {
            let bytes = slice_bytes(steps);
            let slice = &mut slices[at..at + bytes];
            for (packet, first) in slice.chunks_mut(PACKET_BYTES).zip((0..).step_by(PACKET)) {
                let taken = first..(first + PACKET).min(steps);
                for (j, &row) in rows.iter().enumerate() {
                    let row = usize::from(row);
                    let deltas = &self.deltas[row][taken.clone()];
                    encode_packet(deltas, &self.values[row][taken.clone()], j, packet);
                }
            }
            at += bytes;
            end.copy_from_slice(&((at / HEAD) as u16).to_le_bytes());
        }
        slices[at..].fill(0);
        Ok(())
    }
}

/// Writes what row `j` of a slice has in a packet.
fn encode_packet(deltas: &[[u8; LANES]], values: &[[u16; LANES]], j: usize, packet: &mut [u8]) {
    let steps = values.len();
    let (head, data) = packet.split_at_mut(WORDS * words(steps));
    let mut padded = [[0u8; LANES]; PACKET];
    padded[..steps].copy_from_slice(deltas);
    let words_of = |lane: usize| {
        let four = |first: usize| u32::from_le_bytes(from_fn(|i| padded[first + i][lane]));
        // The last four deltas lie in what the others leave of their bytes.
        let last = four(12);
        [
            four(0) | (last & 0x0303_0303) << 6,
            four(4) | (last & 0x0c0c_0c0c) << 4,
            four(8) | (last & 0x3030_3030) << 2,
        ]
    };
    for lane in 0..LANES {
        for (to, word) in head.chunks_exact_mut(WORDS).zip(words_of(lane)) {
            let at = 4 * (LANES * j + lane);
            to[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
    }
    for (step, values) in values.iter().enumerate() {
        let (first, apart) = values_at(steps, step, j);
        for (pair, two) in values.chunks_exact(2).enumerate() {
            let at = first + apart * pair;
            let bits = u32::from(two[0]) | u32::from(two[1]) << 16;
            data[at..at + 4].copy_from_slice(&bits.to_le_bytes());
        }
    }
}

/// First pass: counts and sizes every block.
pub(crate) fn analyse(layout: &DenseLayout, values: &[u16]) -> Result<Analysis> {
    let size = |_: &mut (), _, tile: &BlockTile| {
        let shape = Dealt::of(tile).shape;
        (shape.nnz, shape.units(), ())
    };
    Ok(blocks::analyse(Format::Sell, layout, values, 2, || Ok(()), size)?.0)
}

/// Second pass: writes the data section, whose length is the header's, and tells the stored elements.
pub(crate) fn encode(
    analysis: &Analysis,
    layout: &DenseLayout,
    values: &[u16],
    data: &mut [u8],
) -> Result<u64> {
    let encode = |lists: &mut Lists, _, tile: &BlockTile, out: &mut [u8]| {
        let shape = lists.deal(tile);
        lists.encode(&shape, out)?;
        Ok(shape.nnz)
    };
    blocks::encode(analysis, layout, values, data, 2, Lists::new, encode)
}

/// Writes block `index` over `tile`.
pub(crate) fn unpack(
    buffer: &[u8],
    header: &Header,
    index: usize,
    tile: &mut BlockTile,
) -> Result<()> {
    let wrong = |what: &dyn Display| corrupt(format!("block {index}: {what}"));
    let bytes = block(buffer, header, index, LEAST_UNITS)?;
    let (head, data) = bytes.split_at(HEAD);
    *tile = [[0; TILE_COLS]; TILE_ROWS];
    let mut start = 0;
    for (i, end) in head[..ORDER].chunks_exact(2).enumerate() {
        let end = HEAD * usize::from(u16::from_le_bytes([end[0], end[1]]));
        let slice = data.get(start..end).ok_or_else(|| {
            let (start, end, last) = (start / HEAD, end / HEAD, data.len() / HEAD);
            wrong(&format_args!("end {i} = {end}, needs {start} to {last}"))
        })?;
        start = end;
        let mut rows = [0; SLICE_ROWS];
        for (j, row) in rows.iter_mut().enumerate() {
            *row = usize::from(head[ORDER + SLICE_ROWS * i + j]);
            if *row >= TILE_ROWS {
                let at = SLICE_ROWS * i + j;
                return Err(wrong(&format_args!("order {at} is row {row}, needs 0 to 31")));
            }
        }
        let mut places = [[0; LANES]; SLICE_ROWS];
        for packet in slice.chunks(PACKET_BYTES) {
            let steps = packet_steps(packet.len()).ok_or_else(|| {
                let bytes = packet.len();
                wrong(&format_args!("slice {i} has {bytes} bytes left for a packet, needs 192"))
            })?;
            for (j, (&row, places)) in rows.iter().zip(&mut places).enumerate() {
                unpack_packet(packet, steps, j, places, &mut tile[row]).ok_or_else(|| {
                    wrong(&format_args!("row {row} has an entry behind column {TILE_COLS}"))
                })?;
            }
        }
    }
    Ok(())
}

/// Writes to `out` what row `j` of a slice has in a packet; `places` are those that its lanes have reached.
fn unpack_packet(
    packet: &[u8],
    steps: usize,
    j: usize,
    places: &mut [usize; LANES],
    out: &mut [u16; TILE_COLS],
) -> Option<()> {
    const BITS: u32 = 0x3f3f_3f3f;
    let (head, data) = packet.split_at_checked(WORDS * words(steps))?;
    let mut deltas = [[0u8; LANES]; PACKET];
    for lane in 0..LANES {
        let mut words = [0; 3];
        for (to, from) in words.iter_mut().zip(head.chunks_exact(WORDS)) {
            *to = word(from, 4 * (LANES * j + lane))?;
        }
        let last =
            words[0] >> 6 & 0x0303_0303 | words[1] >> 4 & 0x0c0c_0c0c | words[2] >> 2 & 0x3030_3030;
        for (four, fields) in deltas.chunks_exact_mut(4).zip([
            words[0] & BITS,
            words[1] & BITS,
            words[2] & BITS,
            last,
        ]) {
            for (to, delta) in four.iter_mut().zip(fields.to_le_bytes()) {
                to[lane] = delta;
            }
        }
    }
    for (step, deltas) in deltas.iter().enumerate().take(steps) {
        let (first, apart) = values_at(steps, step, j);
        for pair in 0..LANES / 2 {
            let bits = word(data, first + apart * pair)?;
            for (lane, value) in [(2 * pair, bits as u16), (2 * pair + 1, (bits >> 16) as u16)] {
                places[lane] += usize::from(deltas[lane]);
                let place = places[lane];
                let swizzle = usize::from(*SWIZZLE.get(place)?);
                // A filler may name a column that has an element in its other lane.
                if value != 0 {
                    out[place / 2 * LANES + (lane ^ swizzle)] = value;
                }
            }
        }
    }
    Some(())
}

impl blocks::Decoded<Lists, TILE_ROWS, TILE_COLS> for Shape {
    fn stored(&self) -> u32 {
        self.nnz
    }

    fn units(&self) -> u32 {
        self.units()
    }

    fn encode(&self, lists: &mut Lists, _: &BlockTile, out: &mut [u8]) -> Result<()> {
        lists.encode(self, out)
    }

    fn part(&self, at: usize) -> &'static str {
        match at {
            0..ORDER => "ends",
            ORDER..ORDERED => "order",
            ORDERED..HEAD => "head",
            _ => "slices",
        }
    }
}

/// Checks every block ([`blocks::validate`]).
pub(crate) fn validate(buffer: &[u8], header: &Header) -> Result<(u64, u32)> {
    blocks::validate(buffer, header, 4, Lists::new, |lists: &mut Lists, index, tile| {
        unpack(buffer, header, index, tile)?;
        check_edge(header, index, tile)?;
        Ok(lists.deal(tile))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tile::new_tile;

    fn random(seed: u64, one_of: u64) -> Box<BlockTile> {
        let mut tile: Box<BlockTile> = new_tile().unwrap();
        for (i, value) in tile.iter_mut().flatten().enumerate() {
            let mut x = (i as u64 + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *value = if (x >> 33) % one_of == 0 { 0x3c00 } else { 0 };
        }
        tile
    }

    #[test]
    fn every_column_has_two_lanes_of_its_own() {
        let mut seen = [[false; LANES]; PLACES];
        for col in 0..TILE_COLS {
            let places = [col / 8 * 2, col / 8 * 2 + 1];
            let lanes = places.map(|place| lane(col % 8, place));
            assert_ne!(lanes[0], lanes[1]);
            for (place, lane) in places.into_iter().zip(lanes) {
                assert_eq!(place / 2 * LANES + (lane ^ usize::from(SWIZZLE[place])), col);
                assert!(!std::mem::replace(&mut seen[place][lane], true));
            }
        }
    }

    #[test]
    fn the_size_of_a_packet_tells_its_steps() {
        for steps in 1..=PACKET {
            assert_eq!(packet_steps(packet_bytes(steps)), Some(steps));
        }
        assert_eq!(PACKET_BYTES, 1408);
        assert_eq!(packet_steps(64), None);
        assert_eq!(packet_steps(128), None);
    }

    #[test]
    fn a_dense_block_is_the_largest() {
        let units = |value| Dealt::of(&[[value; TILE_COLS]; TILE_ROWS]).shape.units();
        assert_eq!(units(0x3c00), MOST_UNITS);
        assert_eq!(units(0x8000), LEAST_UNITS);
        for one_of in [1, 2, 3, 100, 1000] {
            let shape = Dealt::of(&random(5, one_of)).shape;
            assert!(shape.steps.iter().all(|&steps| steps <= STEPS));
        }
    }

    #[test]
    fn rows_that_crowd_one_lane_have_no_more_steps_than_octets() {
        let mut tile: Box<BlockTile> = new_tile().unwrap();
        let mut lists = Lists::new().unwrap();
        for target in 0..LANES {
            for (other, row) in tile.iter_mut().enumerate() {
                for (col, value) in row.iter_mut().enumerate() {
                    let lanes = [0, 1].map(|copy| lane(col % 8, col / 8 * 2 + copy));
                    let near = lanes.contains(&target) || lanes.contains(&(other % LANES));
                    *value = if near && col % 3 != other / LANES { 0x3c00 } else { 0 };
                }
            }
            let shape = lists.deal(&tile);
            assert!(shape.steps.iter().all(|&steps| steps <= STEPS));
        }
    }

    #[test]
    fn fillers_are_counted_as_they_are_written() {
        for last in 0..PLACES as i16 {
            for place in ((last + 1) & !1..PLACES as i16).step_by(2) {
                for (first, second) in [(-1, 0), (0, -1), (-1, -1), (0, 0)] {
                    let mut lane = Lane { count: [3; TILE_ROWS], last: [last; TILE_ROWS] };
                    lane.append(5, place, first, second);
                    let fillers = (place + 1 + first - last - 1).max(0) / REACH as i16;
                    let expected =
                        if first | second == 0 { (3, last) } else { (3 + fillers, place - second) };
                    assert_eq!((lane.count[5], lane.last[5]), expected);
                }
            }
        }
    }

    #[test]
    fn lists_of_a_random_block_end_close_together() {
        let shape = Dealt::of(&random(1, 5)).shape;
        let steps: usize = shape.slices().map(|(_, steps)| steps).sum();
        let least = f64::from(shape.nnz) / (LANES * SLICE_ROWS) as f64;
        assert!(steps as f64 <= 1.06 * least, "{steps} steps, at least {least}");
    }
}
