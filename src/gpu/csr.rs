//! CSR matrices in device memory: checked by a kernel, made dense strip by strip, and compressed from there.

use std::ptr;

use super::context::DeviceContext;
use super::convert::{
    Source, Strip, analyse_source, encode_source, read_result, signed, start, write_start,
};
use super::memory::Direction;
use super::params_convert::{CsrParams, View};
use super::sys::RawStream;
use crate::descr::CsrMat;
use crate::error::{Error, Kind, Result};
use crate::format::{Analysis, EncodeOptions};
use crate::plan::convert::{ConvertKernel, CsrWorkspace};
use crate::types::{DenseLayout, Format, Order};

/// Rows that a block of the kernels looks at.
const BLOCK_ROWS: usize = 8;

struct CsrSource<'a> {
    csr: &'a CsrMat,
    parts: CsrWorkspace,
    staging: usize,
}

fn params(csr: &CsrMat, out: View, first_row: usize, result: usize) -> Result<CsrParams> {
    let shape = csr.shape();
    Ok(CsrParams {
        out,
        offsets: csr.offsets() as u64,
        columns: csr.columns() as u64,
        values: csr.values() as u64,
        result: result as u64,
        first_row: signed(first_row, "row")?,
        rows: signed(shape.rows, "rows")?,
        cols: signed(shape.cols, "cols")?,
        nnz: signed(shape.nnz, "nnz")?,
        base: shape.base,
        wide_offsets: u32::from(csr.offset_bytes() == 8),
        wide_columns: u32::from(csr.column_bytes() == 8),
    })
}

impl Source for CsrSource<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.csr.shape().rows, self.csr.shape().cols)
    }

    fn strip_rows(&self) -> usize {
        self.parts.strip_rows
    }

    fn strip(&self, cuda: &DeviceContext, stream: RawStream, index: usize) -> Result<Strip> {
        let shape = self.csr.shape();
        let first_row = index * self.parts.strip_rows;
        let rows = self.parts.strip_rows.min(shape.rows - first_row);
        let ld = self.parts.ld;
        let out = View {
            dense: self.staging as u64,
            ld: signed(ld, "ld")?,
            rows: signed(rows, "rows")?,
            cols: signed(shape.cols, "cols")?,
            col_major: 0,
            vectors: 1,
        };
        let params = params(self.csr, out, first_row, 0)?;
        // SAFETY: the caller of `analyse` and `encode` vouches for the arrays; the staging memory holds a strip.
        unsafe {
            start(cuda, stream, ConvertKernel::CsrExpand, rows.div_ceil(BLOCK_ROWS), 0, params)
        }?;
        let layout = DenseLayout::new(rows, shape.cols, ld, Order::Row)?;
        Ok(Strip { first_row, layout, address: self.staging })
    }
}

/// Reads `N` bytes of device memory; waits for them.
///
/// # Safety
/// They must be readable device memory of the context.
unsafe fn fetch<const N: usize>(
    cuda: &DeviceContext,
    stream: RawStream,
    address: usize,
) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the caller's contract; `bytes` is as long.
    unsafe {
        cuda.copy(
            stream,
            bytes.as_mut_ptr().cast(),
            ptr::without_provenance(address),
            N,
            Direction::DeviceToHost,
        )
    }?;
    Ok(bytes)
}

/// Index `at` of an array of 32- or 64-bit indices.
///
/// # Safety
/// It must be readable device memory of the context.
unsafe fn index(
    cuda: &DeviceContext,
    stream: RawStream,
    array: usize,
    bytes: usize,
    at: usize,
) -> Result<i64> {
    if bytes == 8 {
        // SAFETY: the caller's contract.
        return Ok(i64::from_le_bytes(unsafe { fetch(cuda, stream, array + 8 * at) }?));
    }
    // SAFETY: as above.
    Ok(i64::from(i32::from_le_bytes(unsafe { fetch(cuda, stream, array + 4 * at) }?)))
}

/// Refuses wrong indices, before anything is written. Synchronises.
///
/// # Safety
/// As [`analyse`].
unsafe fn check(
    cuda: &DeviceContext,
    stream: RawStream,
    csr: &CsrMat,
    result: usize,
) -> Result<()> {
    let shape = csr.shape();
    let nothing = View { dense: 0, ld: 0, rows: 0, cols: 0, col_major: 0, vectors: 0 };
    let params = params(csr, nothing, 0, result)?;
    // SAFETY: the workspace begins with the result.
    unsafe { write_start(cuda, stream, result) }?;
    // SAFETY: the caller's contract; the kernel reads columns only within nnz.
    unsafe {
        start(cuda, stream, ConvertKernel::CsrCheck, shape.rows.div_ceil(BLOCK_ROWS), 0, params)
    }?;
    // SAFETY: as above.
    let bad = unsafe { read_result(cuda, stream, result) }?.bad;
    if bad == u64::MAX {
        return Ok(());
    }
    let row = bad as usize;
    // What exactly is wrong the host finds in that row; it is a rare way, one element at a time.
    let offset = |at: usize| {
        // SAFETY: the caller gives rows + 1 offsets.
        unsafe { index(cuda, stream, csr.offsets(), csr.offset_bytes(), at) }
    };
    let (first, end) = shape.extent(row, offset(row)?, offset(row + 1)?)?;
    let mut columns = Vec::new();
    // A row with more columns than the matrix has some twice or out of order among the first of them.
    for at in first..end.min(first + shape.cols + 1) {
        // SAFETY: the caller gives nnz columns, and the extent lies in them.
        columns.push(unsafe { index(cuda, stream, csr.columns(), csr.column_bytes(), at) }?);
        shape.columns(row, at + 1 - columns.len(), columns.iter().copied())?;
        // Only the last two are compared again.
        if columns.len() > 1 {
            columns.remove(0);
        }
    }
    Err(Error::new(Kind::InvalidValue, format!("row {row} was changed while it was checked")))
}

/// [`super::convert::analyse`] of a CSR matrix in device memory, after all its indices have been checked.
///
/// # Safety
/// The descriptor's arrays must be readable device memory of the context: rows + 1 offsets, nnz columns and values;
/// `workspace` writable and as long as [`CsrWorkspace`] says.
pub unsafe fn analyse(
    cuda: &DeviceContext,
    stream: RawStream,
    csr: &CsrMat,
    options: &EncodeOptions,
    workspace: usize,
) -> Result<Analysis> {
    cuda.refuse_if_capturing(stream)?;
    // SAFETY: the caller's contract.
    unsafe { check(cuda, stream, csr, workspace) }?;
    let parts = CsrWorkspace::new(csr.shape().rows, csr.shape().cols, options.format)?;
    let source = CsrSource { csr, parts, staging: workspace + parts.staging };
    // SAFETY: the caller's contract.
    unsafe { analyse_source(cuda, stream, &source, options, workspace) }
}

/// [`super::convert::encode`] of the CSR matrix that was analysed. Waits for nothing.
///
/// # Safety
/// As [`analyse`]; `workspace` must be the one of the analysis, and `buffer` writable and `analysis.bytes()` long.
pub unsafe fn encode(
    cuda: &DeviceContext,
    stream: RawStream,
    analysis: &Analysis,
    csr: &CsrMat,
    requested: Option<Format>,
    workspace: usize,
    buffer: usize,
) -> Result<()> {
    let parts = CsrWorkspace::new(csr.shape().rows, csr.shape().cols, requested)?;
    let source = CsrSource { csr, parts, staging: workspace + parts.staging };
    // SAFETY: the caller's contract.
    unsafe {
        encode_source(cuda, stream, &source, &analysis.header, (workspace, &parts.encode), buffer)
    }
}
