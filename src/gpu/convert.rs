//! Conversions and checks of device memory by kernels, in order with a stream.
//!
//! The first pass leaves sizes and table in the caller's workspace, and only their sums come to the host; the
//! second pass takes the table from there. What the second pass and the way back launch waits for nothing.

use std::ffi::c_void;
use std::ptr;

use super::context::DeviceContext;
use super::launch::{Launch, launch};
use super::memory::Direction;
use super::params_convert::{
    ConvertParams, ConvertResult, ScanParams, TableParams, UNPACK_CHECK, UNPACK_COMPARE,
    UNPACK_STORE,
};
use super::sys::RawStream;
use crate::error::{Error, Kind, Result};
use crate::format::slice::Part;
use crate::format::{self, Analysis, EncodeOptions, Extent, Header, Measured};
use crate::plan::convert::{ConvertKernel, Workspace};
use crate::types::{DenseLayout, Format, Order, zeros};

/// Copies device memory to new host memory.
///
/// # Safety
/// `src` must be readable device memory of the context, `count` bytes long.
unsafe fn download(
    cuda: &DeviceContext,
    stream: RawStream,
    src: usize,
    count: usize,
) -> Result<Vec<u8>> {
    let mut memory = zeros::<u8>(count, "staging")?;
    if count == 0 {
        return Ok(memory);
    }
    let dst = memory.as_mut_ptr().cast::<c_void>();
    // SAFETY: the caller's contract for src; dst is as long.
    unsafe {
        cuda.copy(stream, dst, ptr::without_provenance(src), count, Direction::DeviceToHost)
    }?;
    Ok(memory)
}

/// What kernels have reported; waits for them.
///
/// # Safety
/// `address` must be device memory of the context that holds a [`ConvertResult`].
pub(super) unsafe fn read_result(
    cuda: &DeviceContext,
    stream: RawStream,
    address: usize,
) -> Result<ConvertResult> {
    let mut result = ConvertResult::START;
    // SAFETY: the caller's contract; `result` is as long, and any bits are a value.
    unsafe {
        cuda.copy(
            stream,
            (&raw mut result).cast(),
            ptr::without_provenance(address),
            size_of::<ConvertResult>(),
            Direction::DeviceToHost,
        )
    }?;
    Ok(result)
}

/// Sets what kernels add to.
///
/// # Safety
/// `address` must be device memory of the context with room for a [`ConvertResult`].
pub(super) unsafe fn write_start(
    cuda: &DeviceContext,
    stream: RawStream,
    address: usize,
) -> Result<()> {
    let start = ConvertResult::START;
    // SAFETY: the caller's contract; `start` is as long.
    unsafe {
        cuda.copy(
            stream,
            ptr::without_provenance_mut(address),
            (&raw const start).cast(),
            size_of::<ConvertResult>(),
            Direction::HostToDevice,
        )
    }
}

/// One launch of a conversion kernel with one parameter block.
///
/// # Safety
/// `params` must be the parameter block of the kernel, and the memory that it names valid for what the kernel
/// does with it until the work is done.
pub(super) unsafe fn start<P>(
    cuda: &DeviceContext,
    stream: RawStream,
    kernel: ConvertKernel,
    blocks: usize,
    smem_bytes: u32,
    mut params: P,
) -> Result<()> {
    let grid = i32::try_from(blocks).map_err(|_| {
        Error::new(
            Kind::SizeOverflow,
            format!(
                "{}: the matrix needs {blocks} thread blocks, at most {} are possible",
                kernel.symbol(),
                i32::MAX
            ),
        )
    })?;
    let _entered = cuda.enter()?;
    // SAFETY: the caller's contract; the kernel takes its parameters by value.
    unsafe {
        launch(Launch {
            function: cuda.convert_function(kernel)?,
            grid: [grid.unsigned_abs(), 1, 1],
            block: [kernel.threads(), 1, 1],
            smem_bytes,
            stream,
            programmatic: false,
            pairs: false,
            params: &mut [(&raw mut params).cast()],
        })
    }
}

pub(super) fn signed(value: usize, what: &str) -> Result<i64> {
    i64::try_from(value)
        .map_err(|_| Error::new(Kind::SizeOverflow, format!("{what} = {value} exceeds 63 bits")))
}

/// Blocks of so many columns that a row has, as kernels count them.
pub(super) fn blocks_across(cols: usize, block_cols: usize) -> Result<u32> {
    let across = cols.div_ceil(block_cols);
    u32::try_from(across).map_err(|_| {
        Error::new(
            Kind::SizeOverflow,
            format!("cols = {cols} make {across} blocks a row, at most {} are possible", u32::MAX),
        )
    })
}

/// A run of whole rows of tiles of a dense matrix.
pub(super) struct Strip {
    /// First row, a multiple of every format's tile.
    pub first_row: usize,
    /// Shape and order.
    pub layout: DenseLayout,
    /// Device address of its first element.
    pub address: usize,
}

/// Where a dense matrix comes from.
pub(super) trait Source {
    /// Rows and columns.
    fn shape(&self) -> (usize, usize);
    /// Rows of every strip but the last one, which may have fewer.
    fn strip_rows(&self) -> usize;
    /// Number of strips.
    fn strips(&self) -> usize {
        self.shape().0.div_ceil(self.strip_rows())
    }
    /// Puts on the stream what makes strip `index` readable until the next one is asked for.
    fn strip(&self, cuda: &DeviceContext, stream: RawStream, index: usize) -> Result<Strip>;
}

/// A dense matrix in device memory.
struct Dense<'a> {
    layout: &'a DenseLayout,
    address: usize,
}

impl Source for Dense<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.layout.rows, self.layout.cols)
    }

    fn strip_rows(&self) -> usize {
        self.layout.rows.max(1)
    }

    fn strip(&self, _: &DeviceContext, _: RawStream, _: usize) -> Result<Strip> {
        Ok(Strip { first_row: 0, layout: *self.layout, address: self.address })
    }
}

/// The first rows of a source: all of them, or a multiple of every format's tile.
struct FirstRows<'a, S> {
    source: &'a S,
    rows: usize,
}

impl<S: Source> Source for FirstRows<'_, S> {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.source.shape().1)
    }

    fn strip_rows(&self) -> usize {
        self.source.strip_rows()
    }

    fn strip(&self, cuda: &DeviceContext, stream: RawStream, index: usize) -> Result<Strip> {
        let mut strip = self.source.strip(cuda, stream, index)?;
        strip.layout.rows = strip.layout.rows.min(self.rows - strip.first_row);
        Ok(strip)
    }
}

/// The fields that follow from a strip and the size of a block; the others are zero.
fn strip_params(
    strip: &Strip,
    tile: (usize, usize),
    header: Option<&Header>,
) -> Result<ConvertParams> {
    let layout = &strip.layout;
    let across = blocks_across(layout.cols, tile.1)?;
    let row_major = layout.order == Order::Row;
    let vectors = row_major && strip.address % 16 == 0 && layout.ld % 8 == 0;
    let mut words = [0u32; 64];
    if let Some(header) = header {
        for (word, bytes) in words.iter_mut().zip(header.to_bytes().chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
    }
    Ok(ConvertParams {
        dense: strip.address as u64,
        table: 0,
        data: 0,
        front: 0,
        result: 0,
        orders: 0,
        dense_rows: 0,
        data_units: 0,
        table_entries: 0,
        first_block: (strip.first_row / tile.0 * across as usize) as u64,
        ld: signed(layout.ld, "ld")?,
        rows: signed(layout.rows, "rows")?,
        cols: signed(layout.cols, "cols")?,
        blocks_across: across,
        col_major: u32::from(!row_major),
        vectors: u32::from(vectors),
        reordered: 0,
        usage: UNPACK_STORE,
        extra_entries: 1,
        room: 0,
        header: words,
    })
}

/// Blocks of a strip.
fn blocks_of(strip: &Strip, tile: (usize, usize)) -> usize {
    strip.layout.rows.div_ceil(tile.0) * strip.layout.cols.div_ceil(tile.1)
}

/// Measures a matrix for one format. Synchronises.
///
/// # Safety
/// As [`analyse`].
unsafe fn measure(
    cuda: &DeviceContext,
    stream: RawStream,
    source: &impl Source,
    format: Format,
    options: &EncodeOptions,
    workspace: (usize, &Workspace),
) -> Result<Analysis> {
    let (rows, cols) = source.shape();
    let (base, parts) = workspace;
    let tile = format::header::tile(format);
    let (kernel, _, _) = ConvertKernel::of(format);
    let table = base + parts.table_of(format);
    for index in 0..source.strips() {
        let strip = source.strip(cuda, stream, index)?;
        let params = ConvertParams {
            table: table as u64,
            orders: (base + parts.orders) as u64,
            dense_rows: (base + parts.dense_rows) as u64,
            ..strip_params(&strip, tile, None)?
        };
        if format == Format::Slots {
            let tiles = strip.layout.rows.div_ceil(tile.0);
            // SAFETY: the source's strip is readable, and the workspace has room for every tile's dense rows.
            unsafe { start(cuda, stream, ConvertKernel::SlotsRows, tiles, 0, params) }?;
        }
        let thread_blocks = blocks_of(&strip, tile).div_ceil(kernel.blocks_together());
        // SAFETY: the source's strip is readable, and the workspace has room for all blocks' sizes and orders.
        unsafe { start(cuda, stream, kernel, thread_blocks, 0, params) }?;
    }
    let scan = ScanParams {
        table: table as u64,
        result: base as u64,
        blocks: (rows.div_ceil(tile.0) * cols.div_ceil(tile.1)) as u64,
        format: format as u32,
    };
    // SAFETY: sizes, table and result lie in the workspace.
    unsafe { start(cuda, stream, ConvertKernel::Scan, 1, 0, scan) }?;
    // SAFETY: the workspace begins with the result.
    let result = unsafe { read_result(cuda, stream, base) }?;
    let header = Measured {
        format,
        reordered: options.reorder,
        rows,
        cols,
        nnz: result.nnz,
        units: result.units,
        max_block: result.max_block,
    }
    .header()?;
    Ok(Analysis::new(header, Vec::new()))
}

/// [`measure`] for the format that was asked for, or those that AUTO wants to know.
///
/// # Safety
/// As [`analyse`].
pub(super) unsafe fn analyse_source(
    cuda: &DeviceContext,
    stream: RawStream,
    source: &impl Source,
    options: &EncodeOptions,
    workspace: usize,
) -> Result<Analysis> {
    cuda.refuse_if_capturing(stream)?;
    let (rows, cols) = source.shape();
    let parts = Workspace::new(rows, cols, options.format)?;
    let one = |format: Format, extent: Extent| {
        let part = FirstRows { source, rows: extent.rows(rows) };
        // SAFETY: the caller's contract.
        unsafe { measure(cuda, stream, &part, format, options, (workspace, &parts)) }
    };
    match options.format {
        Some(format) => one(format, Extent::Whole),
        None => format::choose(one(Format::Bitmap, Extent::Whole)?, one, options.preference),
    }
}

/// [`format::analyse`] of a dense matrix in device memory. The result has no table: that stays in the workspace.
/// Synchronises.
///
/// # Safety
/// `values` must be readable device memory of the context, of the layout's extent in 16-bit elements, and
/// `workspace` writable and as long as [`Workspace`] says.
pub unsafe fn analyse(
    cuda: &DeviceContext,
    stream: RawStream,
    layout: &DenseLayout,
    values: usize,
    options: &EncodeOptions,
    workspace: usize,
) -> Result<Analysis> {
    // SAFETY: the caller's contract.
    unsafe { analyse_source(cuda, stream, &Dense { layout, address: values }, options, workspace) }
}

/// Units of the largest block.
fn room(header: &Header) -> u32 {
    match header.format {
        Format::TiledCsl => header.max_block / 4,
        Format::Banked | Format::Bitmap | Format::Sell | Format::Slots => header.max_block,
    }
}

/// The fields that describe a compressed buffer.
fn buffer_params(params: ConvertParams, header: &Header, buffer: usize) -> ConvertParams {
    let unit = header.unit_bytes();
    let extra = header.table_entries - header.blocks() as u64;
    ConvertParams {
        table: buffer as u64 + header.table_offset,
        data: buffer as u64 + header.data_offset,
        front: buffer as u64,
        data_units: header.data_bytes / unit,
        table_entries: header.table_entries,
        reordered: u32::from(header.reordered),
        extra_entries: extra as u32,
        room: room(header),
        ..params
    }
}

/// Writes the compressed buffer of an analysed source.
///
/// # Safety
/// As [`encode`].
pub(super) unsafe fn encode_source(
    cuda: &DeviceContext,
    stream: RawStream,
    source: &impl Source,
    header: &Header,
    workspace: (usize, &Workspace),
    buffer: usize,
) -> Result<()> {
    let (base, parts) = workspace;
    let table = base + parts.table_of(header.format);
    let tile = (header.tile_rows as usize, header.tile_cols as usize);
    let (_, kernel, _) = ConvertKernel::of(header.format);
    let check = TableParams {
        table: table as u64,
        blocks: header.blocks() as u64,
        data_units: header.data_bytes / header.unit_bytes(),
        least: header.block_units().0,
        most: room(header),
    };
    // SAFETY: table and orders lie in the workspace of the analysis, which the caller still has.
    unsafe { start(cuda, stream, ConvertKernel::Table, 1, 0, check) }?;
    for index in 0..source.strips() {
        let strip = source.strip(cuda, stream, index)?;
        let params = ConvertParams {
            table: table as u64,
            orders: (base + parts.orders) as u64,
            dense_rows: (base + parts.dense_rows) as u64,
            ..buffer_params(strip_params(&strip, tile, Some(header))?, header, buffer)
        };
        let smem = kernel.dynamic_smem(header);
        // SAFETY: the source's strip is readable; the kernel writes within the data that the header tells.
        unsafe { start(cuda, stream, kernel, blocks_of(&strip, tile), smem, params) }?;
    }
    Ok(())
}

/// [`format::encode`] from device memory to device memory. Waits for nothing.
///
/// # Safety
/// `values` as for [`analyse`]; `workspace` must be the one of the analysis, and `buffer` writable and
/// `analysis.bytes()` long.
pub unsafe fn encode(
    cuda: &DeviceContext,
    stream: RawStream,
    analysis: &Analysis,
    layout: &DenseLayout,
    values: usize,
    requested: Option<Format>,
    workspace: usize,
    buffer: usize,
) -> Result<()> {
    let parts = Workspace::new(layout.rows, layout.cols, requested)?;
    let source = Dense { layout, address: values };
    // SAFETY: the caller's contract.
    unsafe { encode_source(cuda, stream, &source, &analysis.header, (workspace, &parts), buffer) }
}

/// Unpacks every block of a buffer that this header describes.
///
/// # Safety
/// `buffer` must be readable device memory of the context, `header.total_bytes` long; the strip's memory valid
/// for what `usage` does with it; `result` room for a [`ConvertResult`] that has been begun, or 0.
unsafe fn unpack(
    cuda: &DeviceContext,
    stream: RawStream,
    header: &Header,
    buffer: usize,
    strip: &Strip,
    usage: u32,
    result: usize,
) -> Result<()> {
    let tile = (header.tile_rows as usize, header.tile_cols as usize);
    let (_, _, kernel) = ConvertKernel::of(header.format);
    let params = ConvertParams {
        usage,
        result: result as u64,
        ..buffer_params(strip_params(strip, tile, None)?, header, buffer)
    };
    // SAFETY: the caller's contract; kernels look only at what the header and the table's checked entries span.
    unsafe {
        start(cuda, stream, kernel, blocks_of(strip, tile), kernel.dynamic_smem(header), params)
    }
}

/// [`format::decode`] from device memory to device memory. Waits for nothing.
///
/// # Safety
/// `buffer` must be readable and hold the valid matrix of `header`, `values` writable and of the layout's extent
/// in 16-bit elements, both device memory of the context.
pub unsafe fn decode(
    cuda: &DeviceContext,
    stream: RawStream,
    header: &Header,
    buffer: usize,
    layout: &DenseLayout,
    values: usize,
) -> Result<()> {
    let strip = Strip { first_row: 0, layout: *layout, address: values };
    // SAFETY: the caller's contract; there is nobody to report to.
    unsafe { unpack(cuda, stream, header, buffer, &strip, UNPACK_STORE, 0) }
}

/// Whether the compressed matrix and the dense one agree, bit for bit but for the signs of zeros. Synchronises.
///
/// # Safety
/// As [`decode`], but `values` is only read; `result` must be device memory of [`ConvertResult`]'s size.
pub unsafe fn agrees(
    cuda: &DeviceContext,
    stream: RawStream,
    header: &Header,
    buffer: usize,
    layout: &DenseLayout,
    values: usize,
    result: usize,
) -> Result<bool> {
    cuda.refuse_if_capturing(stream)?;
    let strip = Strip { first_row: 0, layout: *layout, address: values };
    // SAFETY: the caller's contract.
    unsafe { write_start(cuda, stream, result) }?;
    // SAFETY: as above.
    unsafe { unpack(cuda, stream, header, buffer, &strip, UNPACK_COMPARE, result) }?;
    // SAFETY: as above.
    let result = unsafe { read_result(cuda, stream, result) }?;
    if result.bad != u64::MAX {
        return Err(Error::new(
            Kind::CorruptData,
            format!("the buffer was changed since it was checked: block {}", result.bad),
        ));
    }
    Ok(result.different == 0)
}

/// [`format::validate`] of a compressed buffer in device memory, by kernels. Synchronises.
///
/// # Safety
/// `buffer` must be readable device memory of the context, `bytes` long.
pub unsafe fn validate(
    cuda: &DeviceContext,
    stream: RawStream,
    buffer: *mut c_void,
    bytes: usize,
) -> Result<Header> {
    cuda.refuse_if_capturing(stream)?;
    // The header first: the caller's allocation may be much larger than the matrix in it.
    // SAFETY: the caller's contract.
    let head = unsafe { download(cuda, stream, buffer.addr(), bytes.min(Header::BYTES)) }?;
    let header = Header::from_bytes(&head)?;
    let total = usize::try_from(header.total_bytes).unwrap_or(usize::MAX);
    if total <= bytes {
        // SAFETY: the caller's contract, and the header's matrix lies within the bytes.
        let result = unsafe { check(cuda, stream, &header, buffer.addr()) }?;
        let signed = header.format == Format::TiledCsl;
        let units = header.data_bytes / header.unit_bytes();
        let addressable = !signed || i32::try_from(units).is_ok();
        if result.bad == u64::MAX
            && result.nnz == header.nnz
            && result.max_block == header.max_block
            && addressable
        {
            return Ok(header);
        }
    }
    // Something is wrong: the host finds out what, and says it.
    // SAFETY: the caller's contract; not more than `bytes`.
    let compressed = unsafe { download(cuda, stream, buffer.addr(), total.min(bytes)) }?;
    format::validate(&compressed)?;
    Err(Error::new(Kind::CorruptData, "the buffer was changed while it was checked"))
}

/// Runs the checking kernel over a whole buffer.
///
/// # Safety
/// `buffer` must be readable device memory of the context, `header.total_bytes` long.
unsafe fn check(
    cuda: &DeviceContext,
    stream: RawStream,
    header: &Header,
    buffer: usize,
) -> Result<ConvertResult> {
    let (rows, cols) = (header.rows as usize, header.cols as usize);
    // There is no dense matrix; the kernel only compares positions with its shape.
    let layout = DenseLayout { rows, cols, ld: cols, order: Order::Row };
    let strip = Strip { first_row: 0, layout, address: 0 };
    let result = cuda.alloc(stream, size_of::<ConvertResult>())?;
    // SAFETY: `result` was just allocated, the rest is the caller's contract.
    let found = unsafe { write_start(cuda, stream, result) }.and_then(|()| {
        // SAFETY: as above.
        unsafe { unpack(cuda, stream, header, buffer, &strip, UNPACK_CHECK, result) }?;
        // SAFETY: as above.
        unsafe { read_result(cuda, stream, result) }
    });
    let freed = cuda.free(stream, result);
    let found = found?;
    freed?;
    Ok(found)
}

/// Reads the front (header and table) of a matrix in device memory whose header is known.
///
/// # Safety
/// `buffer` must be readable device memory of the context that holds the matrix.
unsafe fn front(
    cuda: &DeviceContext,
    stream: RawStream,
    header: &Header,
    buffer: usize,
) -> Result<Vec<u8>> {
    cuda.refuse_if_capturing(stream)?;
    // SAFETY: the caller's contract.
    let front = unsafe { download(cuda, stream, buffer, header.data_offset as usize) }?;
    if !front.starts_with(&header.to_bytes()) {
        return Err(Error::new(
            Kind::CorruptData,
            "the buffer is not the one that the descriptor has: its header was overwritten",
        ));
    }
    Ok(front)
}

/// [`Part::bytes`] of a matrix in device memory.
///
/// # Safety
/// `buffer` must be readable device memory of the context that holds the matrix.
pub unsafe fn slice_bytes(
    cuda: &DeviceContext,
    stream: RawStream,
    part: &Part,
    header: &Header,
    buffer: usize,
) -> Result<usize> {
    // SAFETY: the caller's contract.
    let front = unsafe { front(cuda, stream, header, buffer) }?;
    part.bytes(header, &front)
}

/// [`Part::write`] from device memory to device memory, staged: the number of non-zeros is only known when
/// the blocks have been read.
///
/// # Safety
/// As [`slice_bytes`], and `out` must be writable device memory of the context, `bytes` long.
pub unsafe fn slice(
    cuda: &DeviceContext,
    stream: RawStream,
    part: &Part,
    header: &Header,
    buffer: usize,
    out: usize,
    bytes: usize,
) -> Result<Header> {
    // SAFETY: the caller's contract.
    let front = unsafe { front(cuda, stream, header, buffer) }?;
    let needed = part.bytes(header, &front)?;
    if bytes < needed {
        return Err(Error::new(
            Kind::WorkspaceTooSmall,
            format!("bytes = {bytes}, and the part needs {needed}"),
        ));
    }
    let range = part.span(header, &front)?;
    let mut span = zeros::<u8>(range.len(), "staging")?;
    let mut done = 0;
    let from = buffer + header.data_offset as usize + range.start;
    // SAFETY: the caller's contract; `span` checked that the range lies within the data.
    unsafe {
        cuda.download(stream, from, range.len(), &mut |piece| {
            span[done..done + piece.len()].copy_from_slice(piece);
            done += piece.len();
            Ok(())
        })
    }?;
    let mut compressed = zeros::<u8>(needed, "staging")?;
    let written = part.write(header, &front, &span, &mut compressed)?;
    // SAFETY: the caller's contract for out.
    unsafe { cuda.upload(stream, out, &compressed) }?;
    Ok(written)
}
