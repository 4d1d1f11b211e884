//! Tiled-CSL, the format of Flash-LLM: tiles of 128 x 64 elements, each a list of 32-bit items that hold
//! an fp16 value and its location in the tile. The byte specification is docs/format-tiled-csl.md.
//!
//! The location has the shared-memory swizzle of the kernel baked in, so that unpacking is one 16-bit
//! store an item at `location * 2`. Items may be ordered such that the 32 lanes of each store hit
//! different banks ([`reorder`]).

use std::ops::Range;

use rayon::prelude::*;

use super::header::{Header, corrupt};
use super::list::SPAN;
use super::measured::{Measured, offsets};
use super::tile::{Tile, gather, new_tile, reduce, write_blocks};
use super::{Analysis, changed, table_entry};
use crate::error::{Error, Result};
use crate::pool::Spare;
use crate::types::{DenseLayout, Format, boxed, zeros};

/// Rows of a tile.
pub const TILE_ROWS: usize = 128;
/// Columns of a tile.
pub const TILE_COLS: usize = 64;
/// Items of a 16-byte vector, the table's unit; tiles are padded to it.
pub const VECTOR: usize = 4;
/// Bytes of a vector.
pub const UNIT: usize = VECTOR * ITEM_BYTES;
/// Shared-memory banks, each four bytes wide.
pub const BANKS: usize = 32;

const ITEM_BYTES: usize = 4;
const TILE_ITEMS: usize = TILE_ROWS * TILE_COLS;
const LANES: usize = 32;

type DenseTile = Tile<TILE_ROWS, TILE_COLS>;

/// Location of (row, col) in the swizzled tile.
#[inline]
pub fn location(row: usize, col: usize) -> usize {
    row * TILE_COLS + (col ^ ((row % 8) << 3))
}

/// (row, col) of a location; the row is 128 or more when the location is outside the tile.
#[inline]
pub fn position(location: usize) -> (usize, usize) {
    let row = location / TILE_COLS;
    (row, (location % TILE_COLS) ^ ((row % 8) << 3))
}

/// Bank of a location: a tile row is exactly the 32 banks.
#[inline]
pub fn bank(location: usize) -> usize {
    location / 2 % BANKS
}

#[inline]
fn item(value: u16, location: usize) -> u32 {
    u32::from(value) | (location as u32) << 16
}

fn item_location(item: u32) -> usize {
    (item >> 16) as usize
}

/// Items of a tile, and one more that takes what is written but not kept.
type Items = [u32; TILE_ITEMS + 1];

/// Buffers of one worker.
struct Scratch {
    tile: Box<DenseTile>,
    items: Box<Items>,
    buckets: Box<Items>,
    ordered: Box<Items>,
}

impl Scratch {
    fn new() -> Result<Self> {
        let items = || boxed(0, "a tile's items");
        Ok(Self { tile: new_tile()?, items: items()?, buckets: items()?, ordered: items()? })
    }
}

/// First pass: counts and sizes every tile.
pub(crate) fn analyse(layout: &DenseLayout, values: &[u16], reordered: bool) -> Result<Analysis> {
    let tiles = layout.rows.div_ceil(TILE_ROWS);
    let blocks = layout.cols.div_ceil(TILE_COLS);
    let mut counts = zeros::<u16>(tiles * blocks, "the tiles' sizes")?;
    counts.par_iter_mut().enumerate().with_min_len(8).try_for_each_init(
        new_tile::<TILE_ROWS, TILE_COLS>,
        |tile, (index, count)| {
            let tile = tile.as_mut().map_err(|error| error.clone())?;
            gather(layout, values, index / blocks * TILE_ROWS, index % blocks * TILE_COLS, tile);
            *count = tile
                .iter()
                .map(|row| row.iter().map(|v| u16::from(v & 0x7fff != 0)).sum::<u16>())
                .sum();
            Ok(())
        },
    )?;
    let nnz = counts.iter().map(|&count| u64::from(count)).sum();
    let vectors = |&count: &u16| u32::from(count).div_ceil(VECTOR as u32);
    let (mut table, units, largest) = offsets(counts.iter().map(vectors))?;
    // A reader may fetch the offsets of the tile after the last one: it is empty.
    table.push(units as u32);
    let header = Measured {
        format: Format::TiledCsl,
        reordered,
        rows: layout.rows,
        cols: layout.cols,
        nnz,
        units,
        max_block: largest * VECTOR as u32,
    }
    .header()?;
    Ok(Analysis::new(header, table))
}

/// Collects a tile's items in row-major order and pads them to whole vectors; returns how many store an element, and
/// how many there are.
fn collect(tile: &DenseTile, items: &mut Items) -> (usize, usize) {
    let mut count = 0;
    for (row, values) in tile.iter().enumerate() {
        for (col, &value) in values.iter().enumerate() {
            // Every element is written and only non-zeros advance: no branch to mispredict.
            items[count] = item(value, location(row, col));
            count += usize::from(value & 0x7fff != 0);
        }
    }
    let padded = count.next_multiple_of(VECTOR);
    if padded == count {
        return (count, count);
    }
    let mut fill = [0usize; BANKS];
    for &item in &items[..count] {
        fill[bank(item_location(item))] += 1;
    }
    // A padding item stores zero where the tile is zero. Tiles have a multiple of VECTOR elements, so
    // one that needs padding has room for it, and then its least-filled bank has too.
    for at in count..padded {
        let least = (0..BANKS).min_by_key(|&b| fill[b]).unwrap_or(0);
        let free = (0..TILE_ROWS)
            .flat_map(|row| [0, 1].map(|half| row * TILE_COLS + 2 * least + half))
            .find(|&place| {
                let (row, col) = position(place);
                tile[row][col] & 0x7fff == 0
                    && items[count..at].iter().all(|&item| item_location(item) != place)
            });
        let Some(free) = free else { return (count, at) };
        items[at] = item(0, free);
        fill[least] += 1;
    }
    (count, padded)
}

/// Orders items such that the lanes of a warp that store together hit different banks where possible.
///
/// Lane `i` of a warp holds vector `i` of a group of 32 vectors, and stores its four items one after the
/// other; the items `v` of all lanes are one *phase*. Phases are filled in this order: those of the last,
/// incomplete group first, while there is most choice, then those of the complete groups; within a group
/// v = 0..4. A phase is filled in rounds. A round takes one item of each bank that has items left, in bank
/// order; when the phase has fewer free lanes than that, the banks with most items left go first (ties:
/// lower bank), one item each. Within a bank, items keep their row-major order, padding last.
fn reorder(items: &[u32], buckets: &mut Items, ordered: &mut [u32]) {
    let mut left = [0usize; BANKS];
    for &item in items {
        left[bank(item_location(item))] += 1;
    }
    let mut next = [0usize; BANKS];
    for b in 1..BANKS {
        next[b] = next[b - 1] + left[b - 1];
    }
    let mut free = next;
    for &item in items {
        let b = bank(item_location(item));
        buckets[free[b]] = item;
        free[b] += 1;
    }
    let vectors = items.len() / VECTOR;
    let tail = vectors % LANES;
    let groups = std::iter::once((vectors - tail, tail))
        .chain((0..vectors / LANES).map(|g| (g * LANES, LANES)));
    for (first, lanes) in groups {
        let group = &mut ordered[first * VECTOR..(first + lanes) * VECTOR];
        for v in 0..VECTOR {
            let mut lane = 0;
            while lane < lanes {
                let mut round = [0u8; BANKS];
                let mut filled = 0;
                for (b, &left) in left.iter().enumerate() {
                    round[filled] = b as u8;
                    filled += usize::from(left > 0);
                }
                if filled > lanes - lane {
                    round[..filled]
                        .sort_unstable_by_key(|&b| (TILE_ITEMS - left[usize::from(b)], b));
                    filled = lanes - lane;
                }
                for &b in &round[..filled] {
                    let b = usize::from(b) % BANKS;
                    group[lane * VECTOR + v] = buckets[next[b]];
                    next[b] += 1;
                    left[b] -= 1;
                    lane += 1;
                }
            }
        }
    }
}

/// Second pass: writes the data section, whose length is the header's, and tells the stored elements.
pub(crate) fn encode(
    analysis: &Analysis,
    layout: &DenseLayout,
    values: &[u16],
    data: &mut [u8],
) -> Result<u64> {
    let (_, blocks) = analysis.header.grid();
    let blocks = blocks as usize;
    let start = |tile: usize| analysis.table[tile] as usize * UNIT;
    let write = |own: &mut Scratch, range: Range<usize>, out: &mut [u8]| {
        let Scratch { tile, items, buckets, ordered } = own;
        let base = start(range.start);
        let mut sum = 0;
        for index in range {
            gather(layout, values, index / blocks * TILE_ROWS, index % blocks * TILE_COLS, tile);
            let (elements, count) = collect(tile, items);
            sum += elements as u64;
            let mut stored = &items[..count];
            if analysis.header.reordered {
                reorder(stored, buckets, &mut ordered[..count]);
                stored = &ordered[..count];
            }
            let out = &mut out[start(index) - base..start(index + 1) - base];
            if out.len() != count * ITEM_BYTES {
                return Err(changed());
            }
            for (bytes, item) in out.chunks_exact_mut(ITEM_BYTES).zip(stored) {
                bytes.copy_from_slice(&item.to_le_bytes());
            }
        }
        Ok(sum)
    };
    let spare = Spare::new(Scratch::new);
    write_blocks(0..analysis.table.len() - 2, 8, data, &start, &spare, &write)
}

/// Items of tile `index` of a buffer whose header has been parsed, found through the table.
fn tile_bytes<'a>(buffer: &'a [u8], header: &Header, index: usize) -> Result<&'a [u8]> {
    let (start, end) = (table_entry(buffer, index)?, table_entry(buffer, index + 1)?);
    let data = header.data_offset as usize;
    buffer
        .get(data + start as usize * UNIT..data + end as usize * UNIT)
        .filter(|bytes| bytes.len() <= TILE_ITEMS * ITEM_BYTES)
        .ok_or_else(|| {
            corrupt(format!(
                "table: tile {index} is {start}..{end}, needs at most 2048 units within the data"
            ))
        })
}

/// 128 rows of 256 columns.
pub(crate) type DenseChunk = Tile<TILE_ROWS, SPAN>;

/// Unpacks tile `index` over the columns `first..first + 64` of `dense`; no tile gives zeros.
pub(crate) fn unpack<const C: usize>(
    buffer: &[u8],
    header: &Header,
    index: Option<usize>,
    first: usize,
    dense: &mut Tile<TILE_ROWS, C>,
) -> Result<()> {
    for row in dense.iter_mut() {
        row[first..first + TILE_COLS].fill(0);
    }
    let Some(index) = index else { return Ok(()) };
    for bytes in tile_bytes(buffer, header, index)?.chunks_exact(ITEM_BYTES) {
        let at = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
        let (row, col) = position(at);
        match dense.get_mut(row) {
            Some(row) => row[first + col] = u16::from_le_bytes([bytes[0], bytes[1]]),
            None => return Err(outside(index, at)),
        }
    }
    Ok(())
}

fn outside(index: usize, at: usize) -> Error {
    corrupt(format!("items: tile {index} has location {at}, needs less than {TILE_ITEMS}"))
}

/// Checks one tile that lies at rows `r0..`, columns `c0..`; returns its non-zeros and its items.
fn validate_tile(
    buffer: &[u8],
    header: &Header,
    index: usize,
    r0: u64,
    c0: u64,
) -> Result<(u64, u32)> {
    let bytes = tile_bytes(buffer, header, index)?;
    let inside_rows = usize::try_from(header.rows - r0).unwrap_or(usize::MAX);
    let inside_cols = usize::try_from(header.cols - c0).unwrap_or(usize::MAX);
    let mut seen = [0u64; TILE_ITEMS / 64];
    let mut padding = 0;
    let mut previous = None;
    for bytes in bytes.chunks_exact(ITEM_BYTES) {
        let value = u16::from_le_bytes([bytes[0], bytes[1]]);
        let at = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
        if at >= TILE_ITEMS {
            return Err(outside(index, at));
        }
        let bit = 1 << (at % 64);
        if seen[at / 64] & bit != 0 {
            return Err(corrupt(format!("items: tile {index} has location {at} twice")));
        }
        seen[at / 64] |= bit;
        if value == 0 {
            padding += 1;
            continue;
        }
        if value & 0x7fff == 0 {
            return Err(corrupt(format!(
                "items: tile {index}, location {at} stores {value:#06x}, which is a zero"
            )));
        }
        let (row, col) = position(at);
        if row >= inside_rows || col >= inside_cols {
            let (r, c) = (r0 + row as u64, c0 + col as u64);
            return Err(corrupt(format!(
                "items: tile {index} stores element ({r}, {c}) outside rows x cols = {} x {}",
                header.rows, header.cols
            )));
        }
        if !header.reordered && (padding > 0 || previous.is_some_and(|p| p >= (row, col))) {
            return Err(corrupt(format!(
                "items: tile {index}, location {at} is out of row-major order and flags does not say reordered"
            )));
        }
        previous = Some((row, col));
    }
    let items = bytes.len() / ITEM_BYTES;
    if padding >= VECTOR {
        return Err(corrupt(format!(
            "padding: tile {index} has {padding} padding items, needs fewer than {VECTOR}"
        )));
    }
    Ok(((items - padding) as u64, items as u32))
}

/// Checks every tile, the table having been checked; returns the non-zeros and the largest tile in items.
pub(crate) fn validate(buffer: &[u8], header: &Header) -> Result<(u64, u32)> {
    let (_, blocks) = header.grid();
    let count = header.table_entries as usize - 2;
    reduce(
        0..count,
        32,
        &Spare::new(|| Ok(())),
        &|(), range| {
            let mut sum = (0, 0);
            for index in range {
                let r0 = index as u64 / blocks * TILE_ROWS as u64;
                let c0 = index as u64 % blocks * TILE_COLS as u64;
                let (nnz, items) = validate_tile(buffer, header, index, r0, c0)?;
                sum = (sum.0 + nnz, sum.1.max(items));
            }
            Ok(sum)
        },
        &|a, b| (a.0 + b.0, a.1.max(b.1)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worst number of lanes in one bank, summed over the phases: the store cycles of the tile.
    fn store_cycles(items: &[u32]) -> usize {
        let vectors: Vec<&[u32]> = items.chunks(VECTOR).collect();
        vectors
            .chunks(LANES)
            .flat_map(|group| {
                (0..VECTOR).map(move |v| group.iter().map(|vector| vector[v]).collect::<Vec<_>>())
            })
            .map(|phase| {
                let mut hits = [0; BANKS];
                for item in phase {
                    hits[bank(item_location(item))] += 1;
                }
                hits.into_iter().max().unwrap_or(0)
            })
            .sum()
    }

    fn random_tile(density_percent: u32, seed: u32) -> DenseTile {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            x >> 8
        };
        let mut tile = [[0; TILE_COLS]; TILE_ROWS];
        for value in tile.iter_mut().flatten() {
            if next() % 100 < density_percent {
                *value = (next() % 1000) as u16 + 1;
            }
        }
        tile
    }

    #[test]
    fn locations_invert() {
        for row in 0..TILE_ROWS {
            for col in 0..TILE_COLS {
                assert_eq!(position(location(row, col)), (row, col));
            }
        }
    }

    #[test]
    fn reordering_is_a_permutation_close_to_the_fewest_store_cycles() {
        for density in [1, 5, 10, 20, 50, 90, 100] {
            let mut scratch = Scratch::new().unwrap();
            let (_, count) = collect(&random_tile(density, 7 * density), &mut scratch.items);
            let items = scratch.items[..count].to_vec();
            let mut ordered = vec![0; count];
            reorder(&items, &mut scratch.buckets, &mut ordered);
            let mut fill = [0; BANKS];
            for &item in &items {
                fill[bank(item_location(item))] += 1;
            }
            let phases = (items.len() / VECTOR).div_ceil(LANES) * VECTOR;
            let least = phases.max(fill.into_iter().max().unwrap_or(0));
            let (before, after) = (store_cycles(&items), store_cycles(&ordered));
            assert!(after <= before, "density {density}: {before} -> {after}");
            assert!(
                after <= least + least / 10 + 3,
                "density {density}: {after} cycles, at best {least}"
            );
            let (mut a, mut b) = (items, ordered);
            a.sort_unstable();
            b.sort_unstable();
            assert_eq!(a, b);
        }
    }

    #[test]
    fn padding_goes_to_distinct_zero_locations_of_the_least_filled_banks() {
        let mut tile = [[1; TILE_COLS]; TILE_ROWS];
        tile[127][63] = 0;
        tile[5][4] = 0x8000;
        tile[5][5] = 0;
        let mut items = [0; TILE_ITEMS + 1];
        assert_eq!(collect(&tile, &mut items), (TILE_ITEMS - 3, TILE_ITEMS));
        let mut places: Vec<_> = items[TILE_ITEMS - 3..TILE_ITEMS]
            .iter()
            .map(|&i| (i & 0xffff, position(item_location(i))))
            .collect();
        places.sort_unstable();
        assert_eq!(places, [(0, (5, 4)), (0, (5, 5)), (0, (127, 63))]);
    }
}
