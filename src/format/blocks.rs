//! The two passes of the formats whose blocks are tiles of one size, each encoded by itself into units of 128 bytes:
//! all but Tiled-CSL. And the decoder of all formats.

use std::ops::Range;

use rayon::prelude::*;

use super::header::{Header, corrupt};
use super::measured::{Measured, offsets};
use super::tile::{Tile, gather, new_tile, reduce, resize, scatter, write_blocks};
use super::{Analysis, block};
use crate::error::{Error, Result};
use crate::pool::Spare;
use crate::types::{DenseLayout, Format, Order, zeros};

/// Bytes of one step of the table's offsets.
const UNIT: usize = 128;

/// First pass: counts and sizes every block. `size` is told a block's number and tells its stored elements and
/// units, and what else the second pass wants to know of it; what `scratch` makes is its own. A thread takes `leaf` blocks or more.
pub(super) fn analyse<S, N: Clone + Default + Send, const R: usize, const C: usize>(
    format: Format,
    layout: &DenseLayout,
    values: &[u16],
    leaf: usize,
    scratch: impl Fn() -> Result<S> + Sync + Send,
    size: impl Fn(&mut S, usize, &Tile<R, C>) -> (u32, u32, N) + Sync + Send,
) -> Result<(Analysis, Vec<N>)> {
    let blocks = layout.cols.div_ceil(C);
    let tiles = layout.rows.div_ceil(R);
    let mut sizes = zeros::<(u32, u32)>(tiles * blocks, "the blocks' sizes")?;
    let mut notes = zeros::<N>(tiles * blocks, "the analysis of the blocks")?;
    sizes.par_iter_mut().zip(&mut notes).enumerate().with_min_len(leaf).try_for_each_init(
        || Ok((new_tile()?, scratch()?)),
        |own, (index, (sizes, notes))| {
            let (tile, scratch) = own.as_mut().map_err(|error: &mut Error| error.clone())?;
            gather(layout, values, index / blocks * R, index % blocks * C, tile);
            let (stored, units, note) = size(scratch, index, tile);
            *sizes = (stored, units);
            *notes = note;
            Ok(())
        },
    )?;
    let (table, units, max_block) = offsets(sizes.iter().map(|&(_, units)| units))?;
    let header = Measured {
        format,
        reordered: false,
        rows: layout.rows,
        cols: layout.cols,
        nnz: sizes.iter().map(|&(stored, _)| u64::from(stored)).sum(),
        units,
        max_block,
    }
    .header()?;
    Ok((Analysis::new(header, table), notes))
}

/// Second pass: writes the data section, whose length is the header's, and tells the stored elements. `encode` writes the block of
/// a tile, whose number it is told, and tells those of the block; what `scratch` makes is its own for up to `leaf` blocks.
pub(super) fn encode<S: Send, const R: usize, const C: usize>(
    analysis: &Analysis,
    layout: &DenseLayout,
    values: &[u16],
    data: &mut [u8],
    leaf: usize,
    scratch: impl Fn() -> Result<S> + Sync,
    encode: impl Fn(&mut S, usize, &Tile<R, C>, &mut [u8]) -> Result<u32> + Sync,
) -> Result<u64> {
    let (_, blocks) = analysis.header.grid();
    let blocks = blocks as usize;
    let start = |block: usize| analysis.table[block] as usize * UNIT;
    let spare = Spare::new(|| Ok((new_tile()?, scratch()?)));
    let write = |own: &mut (_, S), range: Range<usize>, out: &mut [u8]| {
        let (tile, scratch): (&mut Box<Tile<R, C>>, _) = (&mut own.0, &mut own.1);
        let base = start(range.start);
        let mut stored = 0;
        for index in range {
            let out = &mut out[start(index) - base..start(index + 1) - base];
            gather(layout, values, index / blocks * R, index % blocks * C, tile);
            stored += u64::from(encode(scratch, index, tile, out)?);
        }
        Ok(stored)
    };
    write_blocks(0..analysis.table.len() - 1, leaf, data, &start, &spare, &write)
}

/// What a block decodes to: enough to write it again, from its elements and what `S` holds of it.
pub(super) trait Decoded<S, const R: usize, const C: usize> {
    /// Stored elements.
    fn stored(&self) -> u32;
    /// Units that they need.
    fn units(&self) -> u32;
    /// Writes the block, over whatever is there.
    fn encode(&self, own: &mut S, tile: &Tile<R, C>, out: &mut [u8]) -> Result<()>;
    /// The part of the block that its byte `at` belongs to.
    fn part(&self, at: usize) -> &'static str;
}

/// Checks every block, the table having been checked; returns the non-zeros and the largest block in units.
/// The encoding of a block is unique: what it decodes to must give the same bytes again. `decode` writes the block of a number over
/// a tile; what `scratch` makes is its own for up to `leaf` blocks.
pub(super) fn validate<S: Send, D: Decoded<S, R, C>, const R: usize, const C: usize>(
    buffer: &[u8],
    header: &Header,
    leaf: usize,
    scratch: impl Fn() -> Result<S> + Sync,
    decode: impl Fn(&mut S, usize, &mut Tile<R, C>) -> Result<D> + Sync,
) -> Result<(u64, u32)> {
    let spare = Spare::new(|| Ok((new_tile()?, scratch()?, Vec::new())));
    let visit = |own: &mut (Box<Tile<R, C>>, S, Vec<u8>), range: Range<usize>| {
        let (tile, own, again) = own;
        let mut sum = (0u64, 0u32);
        for index in range {
            let bytes = block(buffer, header, index, header.block_units().0)?;
            let decoded = decode(own, index, tile)?;
            let units = decoded.units();
            if units as usize * UNIT != bytes.len() {
                return Err(corrupt(format!(
                    "table: block {index} has {} units, its elements need {units}",
                    bytes.len() / UNIT
                )));
            }
            resize(again, bytes.len())?;
            decoded.encode(own, tile, again)?;
            if let Some(at) = again.iter().zip(bytes).position(|(a, b)| a != b) {
                return Err(corrupt(format!(
                    "{}: block {index}, byte {at} is {:#04x}, its elements need {:#04x}",
                    decoded.part(at),
                    bytes[at],
                    again[at]
                )));
            }
            sum = (sum.0 + u64::from(decoded.stored()), sum.1.max(units));
        }
        Ok(sum)
    };
    reduce(0..header.table_entries as usize - 1, leaf, &spare, &visit, &|a, b| {
        (a.0 + b.0, a.1.max(b.1))
    })
}

/// Writes every element of the dense matrix. `unpack` writes the block of a number over a tile.
pub(super) fn decode<const R: usize, const C: usize>(
    header: &Header,
    layout: &DenseLayout,
    out: &mut [u16],
    unpack: impl Fn(usize, &mut Tile<R, C>) -> Result<()> + Sync,
) -> Result<()> {
    let (tiles, blocks) = header.grid();
    let (tiles, blocks) = (tiles as usize, blocks as usize);
    // A strip of whole rows (or columns) of tiles is contiguous in the dense matrix.
    let strip = layout.ld.saturating_mul(match layout.order {
        Order::Row => R,
        Order::Col => C,
    });
    let spare = Spare::new(new_tile);
    let whole = |(index, out): (usize, &mut [u16])| {
        spare.lend(|tile| {
            let mut one = |row: usize, col: usize| {
                unpack(row * blocks + col, tile)?;
                scatter(layout, out, index * strip, row * R, col * C, tile);
                Ok(())
            };
            match layout.order {
                Order::Row => (0..blocks).try_for_each(|col| one(index, col)),
                Order::Col => (0..tiles).try_for_each(|row| one(row, index)),
            }
        })
    };
    let strips = out[..layout.extent()].par_chunks_mut(strip).enumerate();
    strips.map(whole).find_map_first(Result::err).map_or(Ok(()), Err)
}
