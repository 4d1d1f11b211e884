//! Moves rectangles between dense matrices of either order and small row-major tiles, and splits work
//! over blocks. Gathering a tile first makes both codecs independent of the memory order, and reads a
//! column-major matrix one cache line a column instead of one element.

use std::ops::Range;

use super::header::{Header, corrupt};
use crate::error::Result;
use crate::pool::Spare;
use crate::types::{DenseLayout, Order, boxed, reserve};

/// A row-major tile of `C` columns.
pub(crate) type Tile<const R: usize, const C: usize> = [[u16; C]; R];

/// A tile of zeros.
pub(crate) fn new_tile<const R: usize, const C: usize>() -> Result<Box<Tile<R, C>>> {
    boxed([0; C], "a block's elements")
}

/// Makes `block` as long as the one that it will be compared with.
pub(crate) fn resize(block: &mut Vec<u8>, bytes: usize) -> Result<()> {
    reserve(block, bytes.saturating_sub(block.len()), "a block to compare with")?;
    block.resize(bytes, 0);
    Ok(())
}

/// Columns that are transposed together: eight of them share the stores to one tile row.
const GROUP: usize = 8;
/// Columns that are copied together before they are transposed. The copies do not wait for each other's
/// cache misses, which a transposing loop over columns a page apart does.
const STAGE: usize = 64;

/// Copies the rectangle at (`r0`, `c0`) into `tile`; positions outside the matrix become zero.
pub(crate) fn gather<const R: usize, const C: usize>(
    layout: &DenseLayout,
    values: &[u16],
    r0: usize,
    c0: usize,
    tile: &mut Tile<R, C>,
) {
    let rows = layout.rows.saturating_sub(r0).min(R);
    let cols = layout.cols.saturating_sub(c0).min(C);
    if rows < R || cols < C {
        *tile = [[0; C]; R];
        if rows == 0 || cols == 0 {
            return;
        }
    }
    match layout.order {
        Order::Row => {
            for (r, out) in tile.iter_mut().enumerate().take(rows) {
                let from = layout.index(r0 + r, c0);
                out[..cols].copy_from_slice(&values[from..from + cols]);
            }
        }
        Order::Col => {
            let mut stage = [[0u16; R]; STAGE];
            for first in (0..cols).step_by(STAGE) {
                let staged = STAGE.min(cols - first);
                for (c, column) in stage.iter_mut().enumerate().take(staged) {
                    let from = layout.index(r0, c0 + first + c);
                    match values[from..from + rows].first_chunk::<R>() {
                        Some(whole) => *column = *whole,
                        None => column[..rows].copy_from_slice(&values[from..from + rows]),
                    }
                }
                for group in (0..staged).step_by(GROUP) {
                    let columns: &[[u16; R]] = &stage[group..(group + GROUP).min(staged)];
                    let at = first + group;
                    match columns.first_chunk::<GROUP>() {
                        Some(columns) => {
                            for (r, out) in tile.iter_mut().enumerate().take(rows) {
                                for (to, from) in out[at..at + GROUP].iter_mut().zip(columns) {
                                    *to = from[r];
                                }
                            }
                        }
                        None => {
                            for (c, column) in columns.iter().enumerate() {
                                for (out, &value) in tile.iter_mut().zip(&column[..rows]) {
                                    out[at + c] = value;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Copies the part of `tile` that lies inside the matrix to (`r0`, `c0`). `out` begins at the element
/// `base` of the matrix's own storage.
pub(crate) fn scatter<const R: usize, const C: usize>(
    layout: &DenseLayout,
    out: &mut [u16],
    base: usize,
    r0: usize,
    c0: usize,
    tile: &Tile<R, C>,
) {
    let rows = layout.rows.saturating_sub(r0).min(R);
    let cols = layout.cols.saturating_sub(c0).min(C);
    match layout.order {
        Order::Row => {
            for (r, from) in tile.iter().enumerate().take(rows) {
                let to = layout.index(r0 + r, c0) - base;
                out[to..to + cols].copy_from_slice(&from[..cols]);
            }
        }
        Order::Col => {
            for c in 0..cols {
                let to = layout.index(r0, c0 + c) - base;
                for (value, from) in out[to..to + rows].iter_mut().zip(tile) {
                    *value = from[c];
                }
            }
        }
    }
}

/// Refuses block `index` of a matrix if it stores an element outside; `tile` is what it decodes to.
pub(crate) fn check_edge<const R: usize, const C: usize>(
    header: &Header,
    index: usize,
    tile: &Tile<R, C>,
) -> Result<()> {
    let (_, blocks) = header.grid();
    let (r0, c0) = (index as u64 / blocks * R as u64, index as u64 % blocks * C as u64);
    let inside = |limit: u64, first: u64, most: usize| {
        usize::try_from(limit - first).unwrap_or(usize::MAX).min(most)
    };
    let (rows, cols) = (inside(header.rows, r0, R), inside(header.cols, c0, C));
    for (r, row) in tile.iter().enumerate() {
        let first = if r < rows { cols } else { 0 };
        if let Some(c) = row[first..].iter().position(|&bits| bits & 0x7fff != 0) {
            return Err(corrupt(format!(
                "block {index} stores element ({}, {}) outside rows x cols = {} x {}",
                r0 + r as u64,
                c0 + (first + c) as u64,
                header.rows,
                header.cols
            )));
        }
    }
    Ok(())
}

/// Runs `visit` over `0..count` in ranges of at most `leaf` on all cores and joins the results in order,
/// so that the outcome, the first error included, does not depend on the thread count.
pub(crate) fn reduce<S: Send, T: Send>(
    range: Range<usize>,
    leaf: usize,
    spare: &Spare<S, impl Fn() -> Result<S> + Sync>,
    visit: &(impl Fn(&mut S, Range<usize>) -> Result<T> + Sync),
    join: &(impl Fn(T, T) -> T + Sync),
) -> Result<T> {
    if range.len() <= leaf {
        return spare.lend(|own| visit(own, range));
    }
    let middle = range.start + range.len() / 2;
    let (left, right) = rayon::join(
        || reduce(range.start..middle, leaf, spare, visit, join),
        || reduce(middle..range.end, leaf, spare, visit, join),
    );
    Ok(join(left?, right?))
}

/// Like [`reduce`] for writers: block `b` owns the bytes `start(b)..start(b + 1)` of the data, of which
/// `out` is the part that belongs to `range`. `write` tells how many elements it has stored; the result is their sum.
pub(crate) fn write_blocks<S: Send>(
    range: Range<usize>,
    leaf: usize,
    out: &mut [u8],
    start: &(impl Fn(usize) -> usize + Sync),
    spare: &Spare<S, impl Fn() -> Result<S> + Sync>,
    write: &(impl Fn(&mut S, Range<usize>, &mut [u8]) -> Result<u64> + Sync),
) -> Result<u64> {
    if range.len() <= leaf {
        return spare.lend(|own| write(own, range, out));
    }
    let middle = range.start + range.len() / 2;
    let (left, right) = out.split_at_mut(start(middle) - start(range.start));
    let (left, right) = rayon::join(
        || write_blocks(range.start..middle, leaf, left, start, spare, write),
        || write_blocks(middle..range.end, leaf, right, start, spare, write),
    );
    Ok(left? + right?)
}
