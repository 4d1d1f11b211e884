//! Magnitude pruning on a device, in order with a stream. Waits for nothing.

use super::context::DeviceContext;
use super::convert::{blocks_across, signed, start};
use super::params_convert::{PruneParams, PruneState, View};
use super::sys::{self, RawStream};
use crate::error::Result;
use crate::plan::convert::{ConvertKernel, PRUNE_TILE_COLS, PruneWorkspace};
use crate::types::{DenseLayout, Order};

/// Blocks that share a histogram's work.
const HISTOGRAM_BLOCKS: usize = 1024;
const TILE_ROWS: usize = 32;

fn view(layout: &DenseLayout, address: usize) -> Result<View> {
    let row_major = layout.order == Order::Row;
    Ok(View {
        dense: address as u64,
        ld: signed(layout.ld, "ld")?,
        rows: signed(layout.rows, "rows")?,
        cols: signed(layout.cols, "cols")?,
        col_major: u32::from(!row_major),
        vectors: u32::from(row_major && address % 16 == 0 && layout.ld % 8 == 0),
    })
}

/// Zeroes the `target` elements of smallest magnitude, of the matrix or of each row.
///
/// # Safety
/// `source` and `out` must be device memory of the context, of the layouts' extents in 16-bit elements, the same
/// matrix or apart from each other; `workspace` writable and as long as [`PruneWorkspace`] says. All must live
/// until the work is done.
pub unsafe fn prune(
    cuda: &DeviceContext,
    stream: RawStream,
    source: (&DenseLayout, usize),
    out: (&DenseLayout, usize),
    by_row: bool,
    target: usize,
    workspace: usize,
) -> Result<()> {
    let (rows, cols) = (source.0.rows, source.0.cols);
    if rows == 0 || cols == 0 {
        return Ok(());
    }
    let parts = PruneWorkspace::new(rows, cols)?;
    let across = blocks_across(cols, PRUNE_TILE_COLS)?;
    let params = PruneParams {
        source: view(source.0, source.1)?,
        out: view(out.0, out.1)?,
        target: target as u64,
        state: workspace as u64,
        counts: (workspace + parts.counts) as u64,
        across,
        pass: 0,
    };
    let tiles = rows.div_ceil(TILE_ROWS) * across as usize;
    let run = |kernel: ConvertKernel, blocks: usize, pass: u32| {
        // SAFETY: the caller's contract; every kernel takes PruneParams.
        unsafe { start(cuda, stream, kernel, blocks, 0, PruneParams { pass, ..params }) }
    };
    if by_row {
        return run(ConvertKernel::PruneRows, rows.div_ceil(TILE_ROWS), 0);
    }
    {
        let _entered = cuda.enter()?;
        // SAFETY: the workspace begins with the state.
        unsafe { sys::cuMemsetD8Async(workspace as u64, 0, size_of::<PruneState>(), stream) }
            .check("cuMemsetD8Async")?;
    }
    for pass in 0..2 {
        run(ConvertKernel::PruneHistogram, tiles.min(HISTOGRAM_BLOCKS), pass)?;
        run(ConvertKernel::PruneSelect, 1, pass)?;
    }
    run(ConvertKernel::PruneTies, tiles, 0)?;
    run(ConvertKernel::PruneScan, 1, 0)?;
    run(ConvertKernel::PruneApply, tiles, 0)
}
