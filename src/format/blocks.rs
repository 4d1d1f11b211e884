//! The two passes of the formats whose blocks are tiles of one size, each encoded by itself into units of 128 bytes:
//! all but Tiled-CSL.

use rayon::prelude::*;

use super::Analysis;
use super::measured::{Measured, offsets};
use super::tile::{Tile, gather, new_tile, write_blocks};
use crate::error::{Error, Result};
use crate::types::{DenseLayout, Format, zeros};

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
pub(super) fn encode<S, const R: usize, const C: usize>(
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
    write_blocks(0..analysis.table.len() - 1, leaf, data, &start, &|range, out| {
        let base = start(range.start);
        let (mut tile, mut scratch) = (new_tile()?, scratch()?);
        let mut stored = 0;
        for index in range {
            let out = &mut out[start(index) - base..start(index + 1) - base];
            gather(layout, values, index / blocks * R, index % blocks * C, &mut tile);
            stored += u64::from(encode(&mut scratch, index, &tile, out)?);
        }
        Ok(stored)
    })
}
