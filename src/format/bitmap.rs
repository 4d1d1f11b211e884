//! Bitmap v1: one mask bit an element and packed fp16 values, both in the order in which the threads of
//! an `mma.m16n8k16` fragment consume them. The byte specification is docs/format-bitmap.md.
//!
//! A tile is 32 rows. A block is one tile times `W` columns (256, 512 or 1024) and is stored as `W / 32`
//! *steps* of masks (128 bytes each) followed by `R` rows of 128 bytes of values. Lane `l = 4 g + t` of a
//! warp owns, in every step, rows `g, g + 8, g + 16, g + 24` and eight neighbouring columns from `8 t`.
//! Its values go to stream `l ^ rotation(step)`; stream `s` is the `s`-th 4-byte column of the value rows,
//! that is one shared-memory bank.

use rayon::prelude::*;

use super::header::{Header, corrupt};
use super::list::{RowList, stored_bits};
use super::measured::{Measured, offsets};
use super::tile::{Tile, gather, reduce, scatter, write_blocks};
use super::{Analysis, block, changed};
use crate::error::Result;
use crate::types::{DenseLayout, Format};

/// Rows of a tile.
pub const TILE_ROWS: usize = 32;
/// Columns of a step.
pub const STEP: usize = 32;
/// Lanes of a warp, and streams of a block.
pub const LANES: usize = 32;
/// Bytes of a step's masks, of a row of values, and of one step of the table's offsets.
pub const UNIT: usize = 128;
/// Widths a block may have, widest first.
pub const WIDTHS: [usize; 3] = [1024, 512, 256];
/// Mean bytes a block should not exceed: small blocks let more warps stage two (docs/kernels-log.md has the
/// times), large ones pad less. Where footprint was asked for, one staged block a warp must still fit.
const BLOCK_BYTES_FOR_SPEED: u128 = 5120;
const BLOCK_BYTES_FOR_FOOTPRINT: u128 = 10240;

/// Columns that are gathered at a time: the narrowest block.
pub(crate) const CHUNK: usize = 256;
/// Units that no block exceeds if a narrower one is possible: those of a block of [`CHUNK`] columns without a zero. Every
/// kernel can stage as much for each of its warps.
const LARGEST_UNITS: u32 = (CHUNK / STEP + TILE_ROWS * CHUNK / (2 * LANES)) as u32;
pub(crate) const CHUNK_STEPS: usize = CHUNK / STEP;
const GROUP_CHUNKS: usize = WIDTHS[0] / CHUNK;

type ChunkTile = Tile<TILE_ROWS, CHUNK>;

/// Most values of a stream: 32 a step.
const STREAM_VALUES: usize = WIDTHS[0] / STEP * 32;
/// Values of a step and stream from which packing without branches is the faster way.
const DENSE_STEP: usize = 5;

/// Buffers of one worker.
struct Scratch {
    tile: ChunkTile,
    /// The streams, one after the other; the last element takes what is written but not kept.
    streams: [[u16; STREAM_VALUES + 8]; LANES],
}

impl Scratch {
    fn new() -> Box<Self> {
        Box::new(Self { tile: [[0; CHUNK]; TILE_ROWS], streams: [[0; STREAM_VALUES + 8]; LANES] })
    }
}

/// What lane numbers are XORed with in a step to give stream numbers. It makes each stream see all rows
/// and all columns of the step evenly, so that uneven rows do not lengthen one stream.
#[inline]
pub fn rotation(step: usize) -> usize {
    ((step & 7) << 2) | (step & 3)
}

/// Eight columns of one row -> their bits in a mask word, still to be shifted left by `6 - 2 * slot`.
const SPREAD: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut k = 0;
        while k < 8 {
            if byte >> k & 1 == 1 {
                table[byte] |= 1 << (8 * (k & 3) + if k < 4 { 1 } else { 0 });
            }
            k += 1;
        }
        byte += 1;
    }
    table
};

/// Bit `8 * slot + column` (order of the values) -> mask word as stored.
#[inline]
fn to_word(natural: u32) -> u32 {
    let [a, b, c, d] = natural.to_le_bytes();
    SPREAD[a as usize] << 6 | SPREAD[b as usize] << 4 | SPREAD[c as usize] << 2 | SPREAD[d as usize]
}

/// Mask word as stored -> bit `8 * slot + column`, the inverse of [`to_word`].
#[inline]
pub(crate) fn from_word(word: u32) -> u32 {
    // Bits 0, 8, 16, 24 -> bits 24..28: the partial products of the factor never overlap.
    let nibble = |bits: u32| (bits & 0x0101_0101).wrapping_mul(0x0102_0408) >> 24 & 0xf;
    let byte = |slot: u32| {
        let bits = word >> (6 - 2 * slot);
        nibble(bits >> 1) | nibble(bits) << 4
    };
    byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24
}

/// Byte offset of the mask of (step, lane) within a block: four steps of a lane are 16 adjacent bytes.
#[inline]
pub(crate) fn mask_offset(step: usize, lane: usize) -> usize {
    (step / 4) * 512 + lane * 16 + (step % 4) * 4
}

/// Byte offset of value `q` of stream `s` within a block's values.
#[inline]
pub(crate) fn value_offset(q: usize, s: usize) -> usize {
    (q / 2) * UNIT + s * 4 + (q % 2) * 2
}

/// Bits of the stored elements of a chunk: row by row, one byte for eight columns.
type ChunkBits = [[u8; CHUNK / 8]; TILE_ROWS];

#[inline]
fn chunk_bits(tile: &ChunkTile) -> ChunkBits {
    let mut bits = [[0; CHUNK / 8]; TILE_ROWS];
    for (bits, row) in bits.iter_mut().zip(tile) {
        for (byte, octet) in bits.iter_mut().zip(row.chunks_exact(8)) {
            if let Some(octet) = octet.first_chunk() {
                *byte = stored_bits(octet);
            }
        }
    }
    bits
}

/// Adds the chunk's stored elements to the streams' counts.
fn count_chunk(tile: &ChunkTile, counts: &mut [u32; LANES]) {
    for g in 0..8 {
        let mut sums = [0u8; CHUNK];
        for slot in 0..4 {
            for (sum, &value) in sums.iter_mut().zip(&tile[g + 8 * slot]) {
                *sum += u8::from(value & 0x7fff != 0);
            }
        }
        for (octet, sums) in sums.chunks_exact(8).enumerate() {
            let lane = 4 * g + octet % 4;
            let count = sums.iter().sum::<u8>();
            counts[lane ^ rotation(octet / 4)] += u32::from(count);
        }
    }
}

/// Rows of values the fullest stream needs.
fn value_rows(counts: &[u32; LANES]) -> u32 {
    counts.iter().max().map_or(0, |&count| count.div_ceil(2))
}

/// Value rows of the four narrow, two middle and one wide block of 32 x 1024 elements.
struct GroupSizes {
    nnz: u32,
    rows: [u16; 2 * GROUP_CHUNKS - 1],
}

impl GroupSizes {
    fn rows(&self, width: usize, block: usize) -> u32 {
        let first = match width {
            256 => 0,
            512 => GROUP_CHUNKS,
            _ => GROUP_CHUNKS + GROUP_CHUNKS / 2,
        };
        u32::from(self.rows[first + block])
    }
}

fn size_group(
    layout: &DenseLayout,
    values: &[u16],
    tile_index: usize,
    group: usize,
    tile: &mut ChunkTile,
) -> GroupSizes {
    let mut counts = [[0u32; LANES]; GROUP_CHUNKS];
    for (chunk, counts) in counts.iter_mut().enumerate() {
        let c0 = (group * GROUP_CHUNKS + chunk) * CHUNK;
        if c0 < layout.cols {
            gather(layout, values, tile_index * TILE_ROWS, c0, tile);
            count_chunk(tile, counts);
        }
    }
    let nnz = counts.iter().flatten().sum();
    let mut rows = [0u16; 2 * GROUP_CHUNKS - 1];
    let mut at = 0;
    let mut level = counts.to_vec();
    loop {
        for counts in &level {
            rows[at] = value_rows(counts) as u16;
            at += 1;
        }
        if level.len() == 1 {
            return GroupSizes { nnz, rows };
        }
        level =
            level.chunks(2).map(|pair| std::array::from_fn(|s| pair[0][s] + pair[1][s])).collect();
    }
}

/// Widest block whose mean size stays within the target; 1.1 stands for the streams' padding.
pub(crate) fn choose_width(rows: u64, cols: u64, nnz: u64, prefer_footprint: bool) -> usize {
    let target = if prefer_footprint { BLOCK_BYTES_FOR_FOOTPRINT } else { BLOCK_BYTES_FOR_SPEED };
    let elements = u128::from(rows) * u128::from(cols);
    let limit = cols.div_ceil(CHUNK as u64) * CHUNK as u64;
    for width in WIDTHS {
        // (W / 32) * 128 + 32 * W * density * 2 * 1.1 <= target, times 10 * elements.
        let w = width as u128;
        let tenfold = 40 * w * elements + 704 * w * u128::from(nnz);
        if width as u64 <= limit && tenfold <= 10 * target * elements {
            return width;
        }
    }
    CHUNK
}

/// The next narrower width, where the largest of blocks of `width` has too many units: a few dense rows do not raise the
/// mean. None where they stay.
pub(crate) fn narrower(width: usize, max_block: u32) -> Option<usize> {
    if max_block <= LARGEST_UNITS {
        return None;
    }
    WIDTHS.into_iter().find(|&narrow| narrow < width)
}

/// First pass: counts, chooses the block width and sizes every block.
pub(crate) fn analyse(
    layout: &DenseLayout,
    values: &[u16],
    prefer_footprint: bool,
) -> Result<Analysis> {
    let tiles = layout.rows.div_ceil(TILE_ROWS);
    let groups = layout.cols.div_ceil(WIDTHS[0]);
    let sizes: Vec<GroupSizes> = (0..tiles * groups)
        .into_par_iter()
        .with_min_len(4)
        .map_init(
            || Box::new([[0; CHUNK]; TILE_ROWS]),
            |tile, index| size_group(layout, values, index / groups, index % groups, tile),
        )
        .collect();
    let nnz = sizes.iter().map(|group| u64::from(group.nnz)).sum();
    let of_width = |width: usize| {
        let steps = (width / STEP) as u32;
        let blocks = layout.cols.div_ceil(width);
        let per_group = WIDTHS[0] / width;
        offsets((0..tiles * blocks).map(|index| {
            let (tile, block) = (index / blocks, index % blocks);
            steps + sizes[tile * groups + block / per_group].rows(width, block % per_group)
        }))
    };
    let mut width = choose_width(layout.rows as u64, layout.cols as u64, nnz, prefer_footprint);
    let (mut table, mut units, mut max_block) = of_width(width);
    while let Some(narrow) = narrower(width, max_block) {
        width = narrow;
        (table, units, max_block) = of_width(width);
    }
    let header = Measured {
        format: Format::Bitmap,
        reordered: false,
        rows: layout.rows,
        cols: layout.cols,
        nnz,
        width,
        units,
        max_block,
    }
    .header()?;
    Ok(Analysis::new(header, table))
}

/// Appends the stored ones of eight elements to a stream's values. Returns the new count.
#[inline]
fn append_dense(
    elements: &[u16; 8],
    stored: u8,
    stream: &mut [u16; STREAM_VALUES + 8],
    q: usize,
) -> usize {
    // Every element is written and only stored ones advance: no branch to mispredict.
    let mut at = 0;
    let Some(to) = stream[q..].first_chunk_mut::<8>() else { return q };
    for (k, &value) in elements.iter().enumerate() {
        to[at & 7] = value;
        at += usize::from(stored >> k & 1);
    }
    q + at
}

/// As [`append_dense`], with work for stored elements only.
#[inline]
fn append_sparse(
    elements: &[u16; 8],
    stored: u8,
    stream: &mut [u16; STREAM_VALUES + 8],
    mut q: usize,
) -> usize {
    let mut rest = u32::from(stored);
    while rest != 0 {
        stream[q] = elements[rest.trailing_zeros() as usize & 7];
        q += 1;
        rest &= rest - 1;
    }
    q
}

/// Writes one block over whatever `out` held; `out` is as long as the table says.
fn encode_block(
    layout: &DenseLayout,
    values: &[u16],
    r0: usize,
    c0: usize,
    width: usize,
    scratch: &mut Scratch,
    out: &mut [u8],
) -> Result<()> {
    let Scratch { tile, streams } = scratch;
    let steps = width / STEP;
    let (masks, packed) = out.split_at_mut(steps * UNIT);
    let dense = packed.len() / UNIT * 2 >= DENSE_STEP * steps;
    let mut counts = [0usize; LANES];
    for chunk in 0..width / CHUNK {
        let first_step = chunk * CHUNK_STEPS;
        let c0 = c0 + chunk * CHUNK;
        if c0 >= layout.cols {
            masks[first_step * UNIT..(first_step + CHUNK_STEPS) * UNIT].fill(0);
            continue;
        }
        gather(layout, values, r0, c0, tile);
        let bits = chunk_bits(tile);
        for step in 0..CHUNK_STEPS {
            for lane in 0..LANES {
                let (g, octet) = (lane / 4, step * 4 + lane % 4);
                let stored = [0, 8, 16, 24].map(|slot| bits[g + slot][octet]);
                let at = mask_offset(first_step + step, lane);
                masks[at..at + 4]
                    .copy_from_slice(&to_word(u32::from_le_bytes(stored)).to_le_bytes());
                let s = lane ^ rotation(step);
                let mut q = counts[s];
                for (slot, stored) in stored.into_iter().enumerate() {
                    if let Some(elements) = tile[g + 8 * slot][8 * octet..].first_chunk() {
                        let append = if dense { append_dense } else { append_sparse };
                        q = append(elements, stored, &mut streams[s], q);
                    }
                }
                counts[s] = q;
            }
        }
    }
    let rows = counts.iter().max().map_or(0, |count| count.div_ceil(2));
    if rows * UNIT != packed.len() {
        return Err(changed());
    }
    for (s, stream) in streams.iter_mut().enumerate() {
        stream[counts[s]..(2 * rows).max(counts[s])].fill(0);
    }
    for (row, bytes) in packed.chunks_exact_mut(UNIT).enumerate() {
        for (pair, stream) in bytes.chunks_exact_mut(4).zip(streams.iter()) {
            let word = u32::from(stream[2 * row]) | u32::from(stream[2 * row + 1]) << 16;
            pair.copy_from_slice(&word.to_le_bytes());
        }
    }
    Ok(())
}

/// Second pass: writes the data section, whose length is the header's.
pub(crate) fn encode(
    analysis: &Analysis,
    layout: &DenseLayout,
    values: &[u16],
    data: &mut [u8],
) -> Result<()> {
    let (_, blocks) = analysis.header.grid();
    let blocks = blocks as usize;
    let width = analysis.header.tile_cols as usize;
    let start = |block: usize| analysis.table[block] as usize * UNIT;
    write_blocks(0..analysis.table.len() - 1, 8, data, &start, &|range, out| {
        let base = start(range.start);
        let mut scratch = Scratch::new();
        for index in range {
            let out = &mut out[start(index) - base..start(index + 1) - base];
            let (r0, c0) = (index / blocks * TILE_ROWS, index % blocks * width);
            encode_block(layout, values, r0, c0, width, &mut scratch, out)?;
        }
        Ok(())
    })
}

/// One block of a buffer, found through the table and checked to lie inside it.
pub(crate) struct Block<'a> {
    masks: &'a [u8],
    values: &'a [u8],
}

impl<'a> Block<'a> {
    /// Block `index` of a buffer whose header has been parsed.
    pub(crate) fn new(buffer: &'a [u8], header: &Header, index: usize) -> Result<Self> {
        let steps = header.tile_cols as usize / STEP;
        let bytes = block(buffer, header, index, steps as u32)?;
        let (masks, values) = bytes.split_at(steps * UNIT);
        Ok(Self { masks, values })
    }

    /// Mask of (step, lane) as stored.
    #[inline]
    fn word(&self, step: usize, lane: usize) -> u32 {
        let at = mask_offset(step, lane);
        u32::from_le_bytes([
            self.masks[at],
            self.masks[at + 1],
            self.masks[at + 2],
            self.masks[at + 3],
        ])
    }

    /// Calls `visit(row, column within the chunk, value bits)` for each stored element of 256 columns,
    /// columns ascending within each row. `counts` carries the streams' positions from chunk to chunk
    /// and starts as zeros.
    #[inline]
    pub(crate) fn for_each_in_chunk(
        &self,
        chunk: usize,
        counts: &mut [u32; LANES],
        mut visit: impl FnMut(usize, usize, u16),
    ) -> Result<()> {
        for step in 0..CHUNK_STEPS {
            for lane in 0..LANES {
                let stream = lane ^ rotation(step);
                let (g, c) = (lane / 4, step * STEP + lane % 4 * 8);
                let mut q = counts[stream] as usize;
                let mut rest = from_word(self.word(chunk * CHUNK_STEPS + step, lane));
                while rest != 0 {
                    let bit = rest.trailing_zeros() as usize & 31;
                    let at = value_offset(q, stream);
                    let Some(value) = self.values.get(at..at + 2) else {
                        return Err(corrupt(format!(
                            "masks: stream {stream} has more values than its block stores"
                        )));
                    };
                    visit(g + (bit & 24), c + (bit & 7), u16::from_le_bytes([value[0], value[1]]));
                    q += 1;
                    rest &= rest - 1;
                }
                counts[stream] = q as u32;
            }
        }
        Ok(())
    }
}

/// A chunk's values, stream by stream: room for the most rows a block has, and for reading past them.
pub(crate) struct Streams([[u16; STREAM_VALUES + 8]; LANES]);

impl Streams {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self([[0; STREAM_VALUES + 8]; LANES]))
    }
}

impl Block<'_> {
    /// Appends the stored elements of 256 columns to one list a row. `counts` as for
    /// [`Self::for_each_in_chunk`], but eight elements at a time and without branches.
    pub(crate) fn list_chunk(
        &self,
        chunk: usize,
        counts: &mut [u32; LANES],
        streams: &mut Streams,
        rows: &mut [RowList; TILE_ROWS],
    ) -> Result<()> {
        let mut ends = *counts;
        for step in 0..CHUNK_STEPS {
            for lane in 0..LANES {
                ends[lane ^ rotation(step)] +=
                    self.word(chunk * CHUNK_STEPS + step, lane).count_ones();
            }
        }
        let first = counts.iter().min().map_or(0, |&count| count as usize / 2);
        let end = value_rows(&ends) as usize;
        let values = self
            .values
            .get(first * UNIT..end * UNIT)
            .filter(|_| 2 * (end - first) <= STREAM_VALUES)
            .ok_or_else(|| corrupt("masks: a stream has more values than its block stores"))?;
        for (row, bytes) in values.chunks_exact(UNIT).enumerate() {
            for (stream, pair) in streams.0.iter_mut().zip(bytes.chunks_exact(4)) {
                stream[2 * row] = u16::from_le_bytes([pair[0], pair[1]]);
                stream[2 * row + 1] = u16::from_le_bytes([pair[2], pair[3]]);
            }
        }
        for step in 0..CHUNK_STEPS {
            for lane in 0..LANES {
                let s = lane ^ rotation(step);
                let mut q = counts[s] as usize - 2 * first;
                let col = (step * STEP + lane % 4 * 8) as u8;
                let stored = from_word(self.word(chunk * CHUNK_STEPS + step, lane)).to_le_bytes();
                for (slot, stored) in stored.into_iter().enumerate() {
                    if let Some(values) = streams.0[s][q..].first_chunk() {
                        q += rows[lane / 4 + 8 * slot].append_packed(col, stored, values);
                    }
                }
                counts[s] = (q + 2 * first) as u32;
            }
        }
        Ok(())
    }
}

/// Checks one block that lies at rows `r0..`, columns `c0..`; returns its non-zeros and its units.
fn validate_block(
    buffer: &[u8],
    header: &Header,
    index: usize,
    r0: u64,
    c0: u64,
) -> Result<(u64, u32)> {
    let block = Block::new(buffer, header, index)?;
    let steps = header.tile_cols as usize / STEP;
    let rows = block.values.len() / UNIT;
    if rows > 16 * steps {
        return Err(corrupt(format!(
            "table: block {index} has {rows} value rows, needs at most {}",
            16 * steps
        )));
    }
    let inside_rows = usize::try_from(header.rows - r0).unwrap_or(usize::MAX).min(TILE_ROWS);
    let inside_cols =
        usize::try_from(header.cols - c0).unwrap_or(usize::MAX).min(header.tile_cols as usize);
    let ragged = inside_rows < TILE_ROWS || inside_cols < header.tile_cols as usize;
    let mut counts = [0u32; LANES];
    for step in 0..steps {
        for lane in 0..LANES {
            let word = block.word(step, lane);
            counts[lane ^ rotation(step)] += word.count_ones();
            if ragged && word != 0 {
                let mut rest = from_word(word);
                while rest != 0 {
                    let bit = rest.trailing_zeros() as usize;
                    let (r, c) = (lane / 4 + (bit & 24), step * STEP + lane % 4 * 8 + (bit & 7));
                    if r >= inside_rows || c >= inside_cols {
                        let (r, c) = (r0 + r as u64, c0 + c as u64);
                        return Err(corrupt(format!(
                            "masks: block {index} stores element ({r}, {c}) outside rows x cols = {} x {}",
                            header.rows, header.cols
                        )));
                    }
                    rest &= rest - 1;
                }
            }
        }
    }
    let needed = value_rows(&counts) as usize;
    if rows != needed {
        return Err(corrupt(format!(
            "table: block {index} has {rows} value rows, its masks need {needed}"
        )));
    }
    for (row, bytes) in block.values.chunks_exact(UNIT).enumerate() {
        for (half, value) in bytes.chunks_exact(2).enumerate() {
            let value = u16::from_le_bytes([value[0], value[1]]);
            let (stream, q) = (half / 2, 2 * row + half % 2);
            if q < counts[stream] as usize {
                if value & 0x7fff == 0 {
                    return Err(corrupt(format!(
                        "values: block {index}, stream {stream}, value {q} is stored but zero"
                    )));
                }
            } else if value != 0 {
                return Err(corrupt(format!(
                    "padding: block {index}, stream {stream}, half {q} is {value:#06x}, needs zero"
                )));
            }
        }
    }
    let nnz = counts.iter().map(|&count| u64::from(count)).sum();
    Ok((nnz, (steps + rows) as u32))
}

/// Checks every block, the table having been checked; returns the non-zeros and the largest block in units.
pub(crate) fn validate(buffer: &[u8], header: &Header) -> Result<(u64, u32)> {
    let (_, blocks) = header.grid();
    let width = u64::from(header.tile_cols);
    let count = header.table_entries as usize - 1;
    reduce(
        0..count,
        32,
        &|range| {
            let mut sum = (0, 0);
            for index in range {
                let (r0, c0) =
                    (index as u64 / blocks * TILE_ROWS as u64, index as u64 % blocks * width);
                let (nnz, units) = validate_block(buffer, header, index, r0, c0)?;
                sum = (sum.0 + nnz, sum.1.max(units));
            }
            Ok(sum)
        },
        &|a, b| (a.0 + b.0, a.1.max(b.1)),
    )
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
    let width = header.tile_cols as usize;
    let source = Block::new(buffer, header, tile * blocks as usize + block)?;
    let mut counts = [0; LANES];
    for chunk in 0..width / CHUNK {
        let c0 = block * width + chunk * CHUNK;
        if c0 >= layout.cols {
            break;
        }
        let mut dense: ChunkTile = [[0; CHUNK]; TILE_ROWS];
        source
            .for_each_in_chunk(chunk, &mut counts, |r, c, value| dense[r & 31][c & 255] = value)?;
        scatter(layout, out, base, tile * TILE_ROWS, c0, &dense);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Order;

    #[test]
    fn mask_words_match_the_bit_table_of_the_specification() {
        for slot in 0..4 {
            for k in 0..8 {
                let j = slot * 4 + k / 2;
                let bit = 16 * (j & 1) + if k % 2 == 0 { 7 } else { 15 } - (j >> 1);
                assert_eq!(to_word(1 << (8 * slot + k)), 1 << bit, "slot {slot}, column {k}");
                assert_eq!(from_word(1 << bit), 1 << (8 * slot + k));
            }
        }
    }

    #[test]
    fn mask_words_invert() {
        let mut x = 1u32;
        for _ in 0..10_000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            assert_eq!(from_word(to_word(x)), x);
        }
    }

    #[test]
    fn rotation_gives_each_stream_every_lane_row_and_column_group_once_in_eight_steps() {
        for stream in 0..LANES {
            let mut rows: Vec<usize> = (0..8).map(|step| (stream ^ rotation(step)) / 4).collect();
            rows.sort_unstable();
            assert_eq!(rows, (0..8).collect::<Vec<_>>());
            let mut cols: Vec<usize> = (0..8).map(|step| (stream ^ rotation(step)) % 4).collect();
            cols.sort_unstable();
            assert_eq!(cols, [0, 0, 1, 1, 2, 2, 3, 3]);
        }
    }

    #[test]
    fn width_follows_density() {
        for (nnz_share, speed, footprint) in
            [(20, 512, 1024), (10, 256, 512), (5, 256, 512), (2, 256, 256), (1, 256, 256)]
        {
            let nnz = 4096 * 4096 / nnz_share;
            assert_eq!(choose_width(4096, 4096, nnz, false), speed, "1/{nnz_share}");
            assert_eq!(choose_width(4096, 4096, nnz, true), footprint, "1/{nnz_share}");
        }
        assert_eq!(choose_width(4096, 4096, 0, false), 1024);
        assert_eq!(choose_width(32, 300, 0, false), 512);
        assert_eq!(choose_width(32, 1, 1, true), 256);
        assert_eq!(choose_width(1 << 31, 1 << 31, 1 << 61, true), 256);
    }

    #[test]
    fn dense_rows_among_zeros_narrow_the_blocks() {
        let (rows, cols) = (640, 2048);
        let layout = DenseLayout::new(rows, cols, cols, Order::Row).unwrap();
        let width_of = |dense_columns: usize| {
            let mut values = vec![0_u16; rows * cols];
            for row in values.chunks_exact_mut(cols).take(TILE_ROWS) {
                row[..dense_columns].fill(0x3c00);
            }
            let header = analyse(&layout, &values, false).unwrap().header;
            (header.tile_cols, header.max_block)
        };
        // A step of 32 columns has a unit of masks, and 16 of values where there is no zero.
        assert_eq!(width_of(0), (1024, 32));
        assert_eq!(width_of(192), (1024, 32 + 6 * 16));
        assert_eq!(width_of(224), (512, 16 + 7 * 16));
        assert_eq!(width_of(256), (256, LARGEST_UNITS));
        assert_eq!(width_of(2048), (256, LARGEST_UNITS));
    }
}
