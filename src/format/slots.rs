//! Slots v4: codes that are the metadata of a sparse Tensor Core instruction, and the values that fill its
//! slots. The byte specification is docs/format-slots.md.
//!
//! `mma.sp` multiplies a row's group of four columns of which at most two are kept: two value slots and a
//! 4-bit code that says which columns they are. Slots stores that code for every group, and of the two slots
//! only those that are used (the code tells how many). Every block has its columns in an *order* of its own, searched
//! so that groups have no more than two elements: from about 70 % sparsity on there is such an order. Elements beyond the
//! second of a group are *overflow*: entries (value, place) of *rounds*, dense 32 x 16 tiles of A whose
//! columns are sixteen columns of the block that have overflow, multiplied with gathered rows of B.
//! Rows that have far more elements than the others would fill all rounds: they are *dense rows*, stored whole.
//!
//! A block is 32 rows x 256 columns, eight steps of 32 columns; all but the columns of a round are numbers of places, in
//! the block's order. Lane `l = 4 g + t` owns rows `g + 8 rho` and
//! groups `t` and `t + 4` of a step. Its values go to a stream in one shared-memory bank, 16 bits a row of
//! 128 bytes: the first four steps in the low halves, the last four in the high halves.

use std::array::from_fn;

use rayon::prelude::*;

use super::arrangement::{self, Arrangement};
use super::banks::{Deal, LANES};
use super::header::{Header, corrupt};
use super::list::stored_bits;
use super::tile::{Tile, check_edge, gather, new_tile};
use super::{Analysis, block, blocks, changed, word};
use crate::error::Result;
use crate::types::{DenseLayout, Format, reserved, zeros};

/// Rows of a tile.
pub const TILE_ROWS: usize = 32;
/// Columns of a block.
pub const TILE_COLS: usize = 256;
/// Bytes of a step's codes, of a row of values, and of one step of the table's offsets.
pub const UNIT: usize = 128;
/// Bytes of the order of a block's columns.
pub const ORDER_BYTES: usize = arrangement::BYTES;
/// Units of the codes, of the stream starts and of the order, which every block has.
pub const FIXED_UNITS: u32 = (STEPS + 2) as u32;
/// Units of a block without overflow, at most: every group fills its slots.
pub(crate) const MOST_WITHOUT_OVERFLOW: u32 = FIXED_UNITS + 64;
/// Units of a block without a zero in a tile with dense rows: every group has two elements of overflow, too. Dense rows take as
/// much as the overflow that they spare, but for what either is rounded up.
pub const MOST_UNITS: u32 = WITHOUT_A_ZERO + 1;
const WITHOUT_A_ZERO: u32 =
    MOST_WITHOUT_OVERFLOW + (overflow_bytes(MOST_ROUNDS, TILE_ROWS * TILE_COLS / 2) / UNIT) as u32;
/// Rows of a block that are stored whole, at most.
pub const MOST_DENSE_ROWS: usize = 8;

pub(crate) const STEPS: usize = TILE_COLS / 32;
/// Columns that are multiplied together, and rounds of a block in which half of the columns have overflow: more cannot.
const ROUND: usize = 16;
const MOST_ROUNDS: usize = TILE_COLS / 2 / ROUND;
const HALF_ROWS: usize = 16;
/// Sub-blocks of two steps; a lane changes its stream between the two of a plane.
const SUBS: usize = 4;
const STARTS: usize = STEPS * UNIT;
const ARRANGEMENT: usize = STARTS + UNIT;
const VALUES: usize = ARRANGEMENT + UNIT;
/// A dense row with its number and zeros before it: of eight, the same 16 bytes lie in different shared-memory banks.
const DENSE_ROW: usize = DENSE_ROW_HEAD + 2 * TILE_COLS;
const DENSE_ROW_HEAD: usize = 16;
/// Elements of a block's columns that a dense row has more of on average: overflow of sparser ones is rare.
const SPARSE_ROW: u64 = 136;
/// The same where groups of one element are looked for, and how many rows may be denser.
const SINGLE_ROW: u64 = 56;
const MOST_FOR_SINGLE: usize = 5;
/// Within the overflow: where the columns of the rounds begin, behind the ends.
const COLUMNS: usize = 2 * MOST_ROUNDS;

/// One block, dense.
pub(crate) type BlockTile = Tile<TILE_ROWS, TILE_COLS>;

/// (slot 0's column, slot 1's column) of a group's two kept columns `x < y`. Of the two orders one says "two
/// values"; the other, and (p, p + 1), are free to say "one" and "none": `two` below.
const fn ordered(x: u32, y: u32) -> (u32, u32) {
    if y - x == 1 { (y, x) } else { (x, y) }
}

/// What a group keeps: four mask bits, at most two of them set -> code, kept columns in the order of the slots. Their
/// number is 3 where there is nothing.
#[derive(Clone, Copy)]
struct Group {
    code: u8,
    slots: [u8; 2],
    count: u8,
}

const NOTHING: Group = Group { code: 0, slots: [0, 0], count: 3 };

const GROUPS: [Group; 16] = {
    let mut table = [NOTHING; 16];
    let mut mask = 0u32;
    while mask < 16 {
        let x = mask.trailing_zeros();
        table[mask as usize] = match mask.count_ones() {
            0 => Group { code: 2, slots: [0, 0], count: 0 },
            1 => {
                let code = x | ((x + 1) & 3) << 2;
                Group { code: code as u8, slots: [x as u8, 0], count: 1 }
            }
            2 => {
                let (a, b) = ordered(x, (mask & (mask - 1)).trailing_zeros());
                Group { code: (a | b << 2) as u8, slots: [a as u8, b as u8], count: 2 }
            }
            _ => NOTHING,
        };
        mask += 1;
    }
    table
};

/// Code -> kept columns and their number; 3 marks a code that is never written.
const CODES: [Group; 16] = {
    let mut table = [NOTHING; 16];
    let mut mask = 0;
    while mask < 16 {
        let group = GROUPS[mask];
        if group.count <= 2 {
            table[group.code as usize] = group;
        }
        mask += 1;
    }
    table
};

/// Two groups' kept mask bits -> their two codes, and the numbers of kept values in either nibble.
const PAIRS: [(u8, u8); 256] = {
    let mut table = [(0, 0); 256];
    let mut byte = 0;
    while byte < 256 {
        let (low, high) = (GROUPS[byte & 15], GROUPS[byte >> 4]);
        table[byte] = (low.code | high.code << 4, low.count | high.count << 4);
        byte += 1;
    }
    table
};

/// Bytes of the overflow of a block.
const fn overflow_bytes(rounds: usize, entries: usize) -> usize {
    if entries == 0 { 0 } else { (COLUMNS + ROUND * rounds + 4 * entries).next_multiple_of(UNIT) }
}

/// Units of a block's dense rows.
const fn dense_units(rows: u32) -> u32 {
    (rows * DENSE_ROW as u32).div_ceil(UNIT as u32)
}

/// The rows of a tile that an encoder stores whole, a bit each, from the elements that each of its `rows` has of `cols` columns. Of
/// all tiles those with more than `SPARSE_ROW` of 256 and a quarter more than the mean, so that tiles which are dense everywhere have none; the
/// fullest if they are too many, of equals the first. But where rows with more than `SINGLE_ROW` are so few and the others so
/// sparse that groups of one element may be found, those.
fn dense_rows(counts: &[u64; TILE_ROWS], rows: usize, cols: u64) -> u32 {
    let (all, rows) = (counts.iter().sum::<u64>(), rows.min(TILE_ROWS));
    let more = |limit: u64| {
        let full = |&row: &usize| {
            TILE_COLS as u64 * counts[row] > limit * cols && 4 * rows as u64 * counts[row] > 5 * all
        };
        (0..TILE_ROWS).filter(full).collect::<Vec<_>>()
    };
    let mask = |rows: &[usize]| rows.iter().fold(0, |mask, &row| mask | 1 << row);
    let few = more(SINGLE_ROW);
    let rest = all - few.iter().map(|&row| counts[row]).sum::<u64>();
    if few.len() <= MOST_FOR_SINGLE && 8 * rest <= TILE_ROWS as u64 * cols {
        return mask(&few);
    }
    let mut fullest = more(SPARSE_ROW);
    fullest.sort_by_key(|&row| std::cmp::Reverse(counts[row]));
    fullest.truncate(MOST_DENSE_ROWS);
    mask(&fullest)
}

/// [`dense_rows`] of every tile of a matrix.
fn dense_rows_of(layout: &DenseLayout, values: &[u16]) -> Result<Vec<u32>> {
    let counts = |tile: &mut BlockTile, first: usize| {
        let mut counts = [0; TILE_ROWS];
        for col in (0..layout.cols).step_by(TILE_COLS) {
            gather(layout, values, first, col, tile);
            for (count, words) in counts.iter_mut().zip(stored_words(tile)) {
                *count += words.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
            }
        }
        counts
    };
    let mut found = zeros(layout.rows.div_ceil(TILE_ROWS), "the dense rows of the tiles")?;
    found.par_iter_mut().enumerate().try_for_each_init(new_tile, |tile, (index, rows)| {
        let tile = tile.as_mut().map_err(|error| error.clone())?;
        let first = index * TILE_ROWS;
        *rows = dense_rows(&counts(tile, first), layout.rows - first, layout.cols as u64);
        Ok(())
    })?;
    Ok(found)
}

/// Numbers of the set bits, ascending.
fn bits(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (mask != 0).then(|| mask.trailing_zeros() as usize);
        mask &= mask.wrapping_sub(1);
        bit
    })
}

/// Of 32 neighbouring elements those that their group does not keep: what is beyond the lowest two in even octets, which
/// is in columns 2 or 3 of a group, and beyond the highest two in odd ones, in columns 0 or 1.
#[inline]
fn beyond_two(word: u32) -> u32 {
    const FIRST: u32 = 0x1111_1111;
    let (a, b, c, d) = (word, word >> 1, word >> 2, word >> 3);
    let high = (a & b & c & FIRST) << 2 | (d & (a & b | c & (a | b)) & FIRST) << 3;
    let low = (d & c & b & FIRST) << 1 | a & (d & c | b & (d | c)) & FIRST;
    high & 0x00ff_00ff | low & 0xff00_ff00
}

#[inline]
fn map_bytes(word: u32, f: impl Fn(u8) -> u8) -> u32 {
    u32::from_le_bytes(word.to_le_bytes().map(f))
}

/// Masks of a block by (row, step), and the sizes that follow from them.
struct Masks {
    /// The rows that are stored whole, a bit each; elsewhere they count as empty.
    dense: u32,
    words: [[u32; STEPS]; TILE_ROWS],
    /// Values of each lane in each sub-block.
    counts: [[u8; LANES]; SUBS],
    /// Columns with overflow, a word a step.
    columns: [u32; STEPS],
    /// Overflow entries.
    overflow: u32,
    nnz: u32,
    /// No group keeps two.
    single: bool,
}

impl Masks {
    fn of(tile: &BlockTile, dense: u32) -> Self {
        let mut words = stored_words(tile);
        let whole = take_rows(&mut words, dense);
        let mut single = true;
        let mut counts = [[0; LANES]; SUBS];
        let mut columns = [0; STEPS];
        let (mut overflow, mut nnz) = (0, whole);
        for (r, words) in words.iter().enumerate() {
            for (step, &word) in words.iter().enumerate() {
                let beyond = beyond_two(word);
                let groups = map_bytes(word & !beyond, |byte| PAIRS[usize::from(byte)].1);
                columns[step] |= beyond;
                single &= groups & 0x2222_2222 == 0;
                overflow += beyond.count_ones();
                nnz += word.count_ones();
                let lanes = &mut counts[step / 2][4 * (r % 8)..][..4];
                for (t, count) in lanes.iter_mut().enumerate() {
                    *count += ((groups >> (4 * t) & 3) + (groups >> (4 * t + 16) & 3)) as u8;
                }
            }
        }
        Self { dense, words, counts, columns, overflow, nnz, single }
    }

    /// The elements of a row and step that their groups keep.
    fn kept(&self, row: usize, step: usize) -> u32 {
        let word = self.words[row][step];
        word & !beyond_two(word)
    }

    fn rounds(&self) -> usize {
        (self.columns.iter().map(|word| word.count_ones()).sum::<u32>() as usize).div_ceil(ROUND)
    }

    fn overflow_bytes(&self) -> usize {
        overflow_bytes(self.rounds(), self.overflow as usize)
    }

    /// Calls `f` with each column that has overflow and its place: `ROUND` times its round, plus its column in the
    /// round's tile. Those of one shared-memory bank group of B (column mod 8) are apart from each other, so that
    /// eight neighbours read different banks where they can.
    fn place_columns(&self, mut f: impl FnMut(usize, usize)) {
        // Bit `r` of a bank is its r-th column, by step and byte.
        let mut columns = [0u32; 8];
        for (step, &word) in self.columns.iter().enumerate() {
            for (byte, bits) in word.to_le_bytes().into_iter().enumerate() {
                for (bank, columns) in columns.iter_mut().enumerate() {
                    *columns |= u32::from(bits >> bank & 1) << (4 * step + byte);
                }
            }
        }
        let mut place = 0;
        while columns != [0; 8] {
            for (bank, columns) in columns.iter_mut().enumerate() {
                if *columns != 0 {
                    f(8 * columns.trailing_zeros() as usize + bank, place);
                    *columns &= *columns - 1;
                    place += 1;
                }
            }
        }
    }

    /// How the lanes use the streams of both planes.
    fn planes(&self) -> [Plane; 2] {
        [Plane::of(self, 0), Plane::of(self, 1)]
    }

    /// Units of the dense rows.
    fn dense_units(&self) -> u32 {
        dense_units(self.dense.count_ones())
    }

    /// Units of the block, of which `planes` are the planes.
    fn units(&self, planes: &[Plane; 2]) -> u32 {
        FIXED_UNITS + (self.overflow_bytes() / UNIT + rows(planes)) as u32 + self.dense_units()
    }
}

/// Rows of values.
fn rows(planes: &[Plane; 2]) -> usize {
    planes[0].rows.max(planes[1].rows)
}

/// Makes the rows empty; how many elements they had.
fn take_rows(words: &mut [[u32; STEPS]; TILE_ROWS], rows: u32) -> u32 {
    let mut taken = 0;
    for row in bits(rows) {
        taken += words[row].iter().map(|word| word.count_ones()).sum::<u32>();
        words[row] = [0; STEPS];
    }
    taken
}

/// Elements that are stored, by (row, step).
fn stored_words(tile: &BlockTile) -> [[u32; STEPS]; TILE_ROWS] {
    let mut words = [[0; STEPS]; TILE_ROWS];
    for (words, row) in words.iter_mut().zip(tile) {
        for (word, columns) in words.iter_mut().zip(row.chunks_exact(32)) {
            let mut bytes = [0; 4];
            for (byte, octet) in bytes.iter_mut().zip(columns.chunks_exact(8)) {
                if let Some(octet) = octet.first_chunk() {
                    *byte = stored_bits(octet);
                }
            }
            *word = u32::from_le_bytes(bytes);
        }
    }
    words
}

/// How the lanes of one plane use its 32 streams.
struct Plane {
    /// Where each lane's second sub-block begins: row * 32 + stream.
    starts: [u16; LANES],
    /// Rows that the fullest stream needs.
    rows: usize,
}

impl Plane {
    /// A lane's first sub-block is in the stream of its own number.
    fn of(masks: &Masks, plane: usize) -> Self {
        let (first, second) = (&masks.counts[2 * plane], &masks.counts[2 * plane + 1]);
        let deal = Deal::of(first, second);
        let starts = deal.bank.map(|stream| {
            let stream = usize::from(stream);
            (usize::from(first[stream]) * LANES + stream) as u16
        });
        Self { starts, rows: deal.rows() }
    }
}

/// Byte offset of a value within a block's values: `at` = row * 32 + stream.
#[inline]
fn value_offset(at: usize, plane: usize) -> usize {
    at * 4 + plane * 2
}

/// (row, group) of lane `l`'s `j`-th group in a step.
#[inline]
fn owned(lane: usize, j: usize) -> (usize, usize) {
    (lane / 4 + 8 * (j / 4) + HALF_ROWS * (j / 2 % 2), lane % 4 + 4 * (j % 2))
}

/// Where the code of (row slot pair, group) is: word and shift of lane `4 g + s` for row `g + 16 (s / 2)`.
#[inline]
fn code_offset(step: usize, lane: usize) -> usize {
    (step / 2) * 256 + lane * 8 + (step % 2) * 4
}

/// A block in its own order, and the entries of its overflow.
struct Scratch {
    arranged: Box<BlockTile>,
    entries: Vec<u64>,
}

impl Scratch {
    fn new() -> Result<Self> {
        // No group has more than two elements beyond the two that it keeps.
        let entries = reserved(TILE_ROWS * TILE_COLS / 2, "a block's overflow")?;
        Ok(Self { arranged: new_tile()?, entries })
    }
}

/// First pass: counts and sizes every block.
pub(crate) fn analyse(layout: &DenseLayout, values: &[u16]) -> Result<Analysis> {
    let dense_rows = dense_rows_of(layout, values)?;
    let across = layout.cols.div_ceil(TILE_COLS);
    let size = |arranged: &mut Box<BlockTile>, index: usize, tile: &BlockTile| {
        let mut words = stored_words(tile);
        let dense = dense_rows[index / across];
        take_rows(&mut words, dense);
        let order = Arrangement::search(&words);
        order.apply(tile, arranged);
        let masks = Masks::of(arranged, dense);
        (masks.nnz, masks.units(&masks.planes()), order)
    };
    let (analysis, orders) = blocks::analyse(Format::Slots, layout, values, 8, new_tile, size)?;
    Ok(Analysis { orders, dense_rows, ..analysis })
}

/// Byte offset of an element in its round's A tile, two m16n8k16 fragments: pieces of 8 x 8, by half of the rows,
/// columns and rows (docs/format-slots.md).
fn tile_offset(row: usize, k: usize) -> usize {
    row / 16 * 512 + k / 8 * 256 + row / 8 % 2 * 128 + row % 8 * 16 + k % 8 * 2
}

/// (row, column of the round) at an offset.
fn tile_place(offset: usize) -> (usize, usize) {
    let row = offset / 512 % 2 * 16 + offset / 128 % 2 * 8 + offset / 16 % 8;
    (row, offset / 256 % 2 * 8 + offset / 2 % 8)
}

/// Writes one block, whose columns are in `order`, over whatever `out` held; `out` is as long as the analysis said.
fn encode_block(
    tile: &BlockTile,
    order: &Arrangement,
    masks: &Masks,
    planes: &[Plane; 2],
    entries: &mut Vec<u64>,
    out: &mut [u8],
) -> Result<()> {
    if masks.units(planes) as usize * UNIT != out.len() {
        return Err(changed());
    }
    out.fill(0);
    let (rounds, rows) = (masks.rounds(), rows(planes));
    let (head, rest) = out.split_at_mut(VALUES);
    let (packed, rest) = rest.split_at_mut(rows * UNIT);
    let (whole, overflow) = rest.split_at_mut(masks.dense_units() as usize * UNIT);
    for step in 0..STEPS {
        let codes: [u32; TILE_ROWS] =
            from_fn(|r| map_bytes(masks.kept(r, step), |byte| PAIRS[usize::from(byte)].0));
        for lane in 0..LANES {
            let row = lane / 4 + HALF_ROWS * (lane / 2 % 2);
            let half = |r: usize| codes[r] >> (16 * (lane % 2)) & 0xffff;
            let at = code_offset(step, lane);
            head[at..at + 4].copy_from_slice(&(half(row) | half(row + 8) << 16).to_le_bytes());
        }
    }
    for lane in 0..LANES {
        let dense = masks.dense.count_ones() as usize;
        let info = [rounds, rows, usize::from(masks.single), dense];
        let info = info.get(lane).map_or(0, |&info| info as u32);
        let word = u32::from(planes[0].starts[lane])
            | u32::from(planes[1].starts[lane]) << 12
            | info << 24;
        head[STARTS + 4 * lane..][..4].copy_from_slice(&word.to_le_bytes());
    }
    head[ARRANGEMENT..].copy_from_slice(&order.to_bytes());
    let mut places = [0; TILE_COLS];
    masks.place_columns(|col, place| places[col] = place);
    for (bytes, row) in whole.chunks_exact_mut(DENSE_ROW).zip(bits(masks.dense)) {
        bytes[0] = row as u8;
        for (place, &value) in tile[row].iter().enumerate().filter(|&(_, &value)| value << 1 != 0) {
            let at = DENSE_ROW_HEAD + 2 * place;
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
    }
    entries.clear();
    for lane in 0..LANES {
        for sub in 0..SUBS {
            let plane = sub / 2;
            let mut at = if sub % 2 == 0 { lane } else { usize::from(planes[plane].starts[lane]) };
            for step in 2 * sub..2 * sub + 2 {
                for j in 0..8 {
                    let (row, q) = owned(lane, j);
                    let kept = masks.kept(row, step);
                    let group = GROUPS[(kept >> (4 * q) & 15) as usize];
                    let value = |i: usize| tile[row][32 * step + 4 * q + i];
                    for &i in &group.slots[..usize::from(group.count)] {
                        let to = value_offset(at, plane);
                        packed[to..to + 2].copy_from_slice(&value(usize::from(i)).to_le_bytes());
                        at += LANES;
                    }
                    let mut rest = (masks.words[row][step] & !kept) >> (4 * q) & 15;
                    while rest != 0 {
                        let col = 32 * step + 4 * q + rest.trailing_zeros() as usize;
                        let (round, k) = (places[col] / ROUND, places[col] % ROUND);
                        // An entry is the lower half, its round above: in the order of storage.
                        entries.push(
                            (round as u64) << 32
                                | (tile_offset(row, k) as u64) << 16
                                | u64::from(tile[row][col]),
                        );
                        rest &= rest - 1;
                    }
                }
            }
        }
    }
    if entries.is_empty() {
        return Ok(());
    }
    entries.sort_unstable();
    let (ends, rest) = overflow.split_at_mut(COLUMNS);
    let (columns, stored) = rest.split_at_mut(rounds * ROUND);
    for (round, bytes) in ends.chunks_exact_mut(2).enumerate() {
        let end = entries.partition_point(|&entry| (entry >> 32) as usize <= round);
        bytes.copy_from_slice(&(end as u16).to_le_bytes());
    }
    // Columns that the last round does not use lie in different banks.
    for (place, column) in columns.iter_mut().enumerate() {
        *column = (place % ROUND) as u8;
    }
    masks.place_columns(|at, place| columns[place] = order.column(at) as u8);
    for (bytes, &entry) in stored.chunks_exact_mut(4).zip(entries.iter()) {
        bytes.copy_from_slice(&(entry as u32).to_le_bytes());
    }
    Ok(())
}

/// Second pass: writes the data section, whose length is the header's, and tells the stored elements.
pub(crate) fn encode(
    analysis: &Analysis,
    layout: &DenseLayout,
    values: &[u16],
    data: &mut [u8],
) -> Result<u64> {
    let across = layout.cols.div_ceil(TILE_COLS);
    let encode = |scratch: &mut Scratch, index: usize, tile: &BlockTile, out: &mut [u8]| {
        let Scratch { arranged, entries } = scratch;
        let order = &analysis.orders[index];
        order.apply(tile, arranged);
        let masks = Masks::of(arranged, analysis.dense_rows[index / across]);
        encode_block(arranged, order, &masks, &masks.planes(), entries, out)?;
        Ok(masks.nnz)
    };
    blocks::encode(analysis, layout, values, data, 8, Scratch::new, encode)
}

/// Writes block `index` over `tile`; the order that it has its columns in, and the rows that it has whole.
pub(crate) fn unpack(
    buffer: &[u8],
    header: &Header,
    index: usize,
    tile: &mut BlockTile,
) -> Result<(Arrangement, u32)> {
    let bytes = block(buffer, header, index, FIXED_UNITS)?;
    unpack_block(bytes, tile).map_err(|reason| corrupt(format!("block {index}: {reason}")))
}

fn unpack_block(
    bytes: &[u8],
    tile: &mut BlockTile,
) -> std::result::Result<(Arrangement, u32), String> {
    *tile = [[0; TILE_COLS]; TILE_ROWS];
    let short = || "it ends before its values".to_owned();
    let start = |lane: usize| word(bytes, STARTS + 4 * lane).ok_or_else(short);
    let rounds = (start(0)? >> 24) as usize;
    let values_end = VALUES + (start(1)? >> 24) as usize * UNIT;
    let dense_count = start(3)? >> 24;
    let stored = bytes.get(ARRANGEMENT..).and_then(<[u8]>::first_chunk);
    let order = Arrangement::read(stored.ok_or_else(short)?)?;
    for lane in 0..LANES {
        let starts = start(lane)?;
        let mut at = 0;
        for step in 0..STEPS {
            let plane = step / 4;
            if step % 4 == 0 {
                at = lane;
            } else if step % 2 == 0 {
                at = (starts >> (12 * plane) & 0xfff) as usize;
            }
            for j in 0..8 {
                let (row, q) = owned(lane, j);
                let holder = lane / 4 * 4 + 2 * (row / HALF_ROWS) + q / 4;
                let codes = word(bytes, code_offset(step, holder)).ok_or_else(short)?;
                let code = codes >> (16 * (row / 8 % 2) + 4 * (q % 4)) & 15;
                let group = CODES[code as usize];
                if group.count > 2 {
                    return Err(format!(
                        "code {code} of row {row}, group {q} of step {step} means nothing"
                    ));
                }
                for &i in &group.slots[..usize::from(group.count)] {
                    let from = VALUES + value_offset(at, plane);
                    let Some(value) = bytes.get(from..from + 2) else { return Err(short()) };
                    tile[row][order.column(32 * step + 4 * q + usize::from(i))] =
                        u16::from_le_bytes([value[0], value[1]]);
                    at += LANES;
                }
            }
        }
    }
    let dense = stored_dense_rows(bytes.get(values_end..), dense_count)?;
    let whole = bytes.get(values_end..).unwrap_or_default().chunks_exact(DENSE_ROW);
    for (row, bytes) in bits(dense).zip(whole) {
        for (place, value) in bytes[DENSE_ROW_HEAD..].chunks_exact(2).enumerate() {
            tile[row][order.column(place)] = u16::from_le_bytes([value[0], value[1]]);
        }
    }
    let section = values_end + dense_units(dense_count) as usize * UNIT;
    if rounds == 0 {
        return Ok((order, dense));
    }
    let short = || "it ends before its overflow".to_owned();
    let ends = bytes.get(section..section + COLUMNS).ok_or_else(short)?;
    let columns = section + COLUMNS;
    let mut at = columns + rounds * ROUND;
    let mut first = 0;
    for (round, end) in ends.chunks_exact(2).enumerate() {
        let end = u16::from_le_bytes([end[0], end[1]]);
        if round >= rounds && end > first {
            return Err(format!(
                "overflow: round {round} has entries, the block has {rounds} rounds"
            ));
        }
        for _ in first..end {
            let entry = word(bytes, at).ok_or_else(short)?;
            at += 4;
            let (row, k) = tile_place((entry >> 16) as usize);
            let col = *bytes.get(columns + round * ROUND + k).ok_or_else(short)?;
            tile[row][usize::from(col)] = entry as u16;
        }
        first = first.max(end);
    }
    Ok((order, dense))
}

/// The rows, a bit each, that `bytes` begins with, of which there are `count`.
fn stored_dense_rows(bytes: Option<&[u8]>, count: u32) -> std::result::Result<u32, String> {
    let most = MOST_DENSE_ROWS as u32;
    if count > most {
        return Err(format!("it has {count} dense rows, needs {most} at most"));
    }
    let mut rows = 0u32;
    let mut stored = bytes.unwrap_or_default().chunks_exact(DENSE_ROW);
    for _ in 0..count {
        let bytes = stored.next().ok_or_else(|| "it ends before its dense rows".to_owned())?;
        let row = usize::from(bytes[0]);
        // Each comes after those before.
        if row >= TILE_ROWS || rows >> row != 0 {
            return Err(format!("dense row {row} is none of the block, or not in its place"));
        }
        rows |= 1 << row;
    }
    Ok(rows)
}

/// The dense rows of block `index`.
fn dense_rows_at(buffer: &[u8], header: &Header, index: usize) -> Result<u32> {
    let bytes = block(buffer, header, index, FIXED_UNITS)?;
    let start = |lane: usize| word(bytes, STARTS + 4 * lane).map_or(0, |word| word >> 24);
    let from = VALUES + start(1) as usize * UNIT;
    stored_dense_rows(bytes.get(from..), start(3))
        .map_err(|reason| corrupt(format!("block {index}: {reason}")))
}

/// Name of the part of a block that a byte lies in.
fn section(at: usize, rows: usize, dense_units: usize) -> &'static str {
    match at {
        _ if at < STARTS => "codes",
        _ if at < ARRANGEMENT => "starts",
        _ if at < VALUES => "arrangement",
        _ if at < VALUES + rows * UNIT => "values",
        _ if at < VALUES + (rows + dense_units) * UNIT => "dense rows",
        _ => "overflow",
    }
}

/// A block that was decoded: its elements in its own order are in a [`Scratch`].
struct Again {
    order: Arrangement,
    masks: Masks,
    planes: [Plane; 2],
}

impl blocks::Decoded<Scratch, TILE_ROWS, TILE_COLS> for Again {
    fn stored(&self) -> u32 {
        self.masks.nnz
    }

    fn units(&self) -> u32 {
        self.masks.units(&self.planes)
    }

    fn encode(&self, own: &mut Scratch, _: &BlockTile, out: &mut [u8]) -> Result<()> {
        let Scratch { arranged, entries } = own;
        encode_block(arranged, &self.order, &self.masks, &self.planes, entries, out)
    }

    fn part(&self, at: usize) -> &'static str {
        section(at, rows(&self.planes), self.masks.dense_units() as usize)
    }
}

/// Checks every block ([`blocks::validate`]). What is unique is the encoding of a block with its order and its dense rows, of which
/// all blocks of a tile have the same.
pub(crate) fn validate(buffer: &[u8], header: &Header) -> Result<(u64, u32)> {
    let across = header.grid().1 as usize;
    blocks::validate(buffer, header, 32, Scratch::new, |own: &mut Scratch, index, tile| {
        let (order, dense) = unpack(buffer, header, index, tile)?;
        let left = index - usize::from(index % across != 0);
        if dense_rows_at(buffer, header, left)? != dense {
            return Err(corrupt(format!(
                "block {index}: its dense rows are others than those of block {left}"
            )));
        }
        check_edge(header, index, tile)?;
        order.apply(tile, &mut own.arranged);
        let masks = Masks::of(&own.arranged, dense);
        Ok(Again { order, planes: masks.planes(), masks })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_name_different_columns_and_tell_their_number_as_the_kernels_read_it() {
        for (mask, group) in GROUPS.into_iter().enumerate() {
            assert_eq!(group.count > 2, mask.count_ones() > 2);
            if group.count > 2 {
                continue;
            }
            let (a, b) = (u32::from(group.code) & 3, u32::from(group.code) >> 2);
            assert_ne!(a, b, "an instruction's two columns differ");
            let bit = |x: u32, i: u32| x >> i & 1 == 1;
            let odd = bit(a, 0) ^ bit(b, 0);
            let one = odd || !bit(a, 1);
            let two = if odd { bit(a, 0) ^ bit(a, 1) ^ bit(b, 1) } else { !bit(a, 1) };
            assert_eq!(u8::from(one) + u8::from(two), group.count, "mask {mask:04b}");
            let kept = group.slots[..usize::from(group.count)].iter();
            assert_eq!(kept.fold(0, |m, &i| m | 1 << i), mask);
            if group.count >= 1 {
                assert_eq!(u32::from(group.slots[0]), a);
            }
            if group.count == 2 {
                assert_eq!(u32::from(group.slots[1]), b);
            }
        }
    }

    #[test]
    fn a_block_without_a_zero_is_the_largest() {
        let units = |value, dense| {
            let masks = Masks::of(&[[value; TILE_COLS]; TILE_ROWS], dense);
            masks.units(&masks.planes())
        };
        assert_eq!(units(0x3c00, 0), WITHOUT_A_ZERO);
        assert_eq!(units(0x3c00, 1), MOST_UNITS);
        for rows in 2..=MOST_DENSE_ROWS {
            assert!(units(0x3c00, (1 << rows) - 1) <= MOST_UNITS, "{rows} dense rows");
        }
        assert_eq!(units(0x8000, 0), FIXED_UNITS);
    }

    #[test]
    fn streams_of_a_random_block_end_close_together() {
        let mut x = 7u32;
        let mut tile = [[0u16; TILE_COLS]; TILE_ROWS];
        for value in tile.iter_mut().flatten() {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = if x >> 8 < (1 << 24) / 5 { 0x3c00 } else { 0 };
        }
        let masks = Masks::of(&tile, 0);
        let values: u32 = masks.counts.iter().flatten().map(|&c| u32::from(c)).sum();
        let rows = Plane::of(&masks, 0).rows.max(Plane::of(&masks, 1).rows);
        assert!(rows as f64 <= 1.15 * f64::from(values) / 64.0, "{rows} rows for {values} values");
    }
}
