//! Conversions and checks of device memory, staged through host memory.
//!
//! Each function synchronises the stream and refuses a stream that is capturing. The stage is ordinary
//! pageable memory that ends with the call: weights are converted once, so nothing is kept between the
//! analysis and the conversion.

use std::ffi::c_void;
use std::ptr;

use super::context::DeviceContext;
use super::memory::Direction;
use super::sys::RawStream;
use crate::error::{Error, Kind, Result};
use crate::format::slice::Part;
use crate::format::{self, Analysis, EncodeOptions, Header};
use crate::types::DenseLayout;

/// `count` zeros, or ALLOC_FAILED.
fn stage<T: Clone + Default>(count: usize) -> Result<Vec<T>> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(count).map_err(|_| {
        let bytes = count.saturating_mul(size_of::<T>());
        Error::new(
            Kind::AllocFailed,
            format!("{bytes} bytes of host memory for staging could not be allocated"),
        )
    })?;
    memory.resize(count, T::default());
    Ok(memory)
}

/// Copies device memory to new host memory.
///
/// # Safety
/// `src` must be readable device memory of the context, `count` elements long.
unsafe fn download<T: Clone + Default>(
    cuda: &DeviceContext,
    stream: RawStream,
    src: usize,
    count: usize,
) -> Result<Vec<T>> {
    let mut memory = stage::<T>(count)?;
    if count == 0 {
        return Ok(memory);
    }
    let dst = memory.as_mut_ptr().cast::<c_void>();
    // SAFETY: the caller's contract for src; dst is as long. T is u8 or u16: any bits are a value.
    unsafe {
        cuda.copy(
            stream,
            dst,
            ptr::without_provenance(src),
            count * size_of::<T>(),
            Direction::DeviceToHost,
        )
    }?;
    Ok(memory)
}

/// Copies host memory to device memory.
///
/// # Safety
/// `dst` must be writable device memory of the context, as long as `src`.
unsafe fn upload<T>(cuda: &DeviceContext, stream: RawStream, dst: usize, src: &[T]) -> Result<()> {
    // SAFETY: the caller's contract for dst; src is as long as it says.
    unsafe {
        cuda.copy(
            stream,
            ptr::without_provenance_mut(dst),
            src.as_ptr().cast(),
            size_of_val(src),
            Direction::HostToDevice,
        )
    }
}

/// Refuses a capturing stream before memory is staged for it.
fn ready(cuda: &DeviceContext, stream: RawStream) -> Result<()> {
    let _entered = cuda.enter()?;
    cuda.refuse_capture(stream)
}

/// [`format::analyse`] of a dense matrix in device memory.
///
/// # Safety
/// `values` must be readable device memory of the context, of the layout's extent in fp16.
pub unsafe fn analyse(
    cuda: &DeviceContext,
    stream: RawStream,
    layout: &DenseLayout,
    values: usize,
    options: &EncodeOptions,
) -> Result<Analysis> {
    ready(cuda, stream)?;
    // SAFETY: the caller's contract.
    let dense = unsafe { download::<u16>(cuda, stream, values, layout.extent()) }?;
    format::analyse(layout, &dense, options)
}

/// [`format::encode`] from device memory to device memory.
///
/// # Safety
/// As [`analyse`], and `buffer` must be writable and `analysis.bytes()` long.
pub unsafe fn encode(
    cuda: &DeviceContext,
    stream: RawStream,
    analysis: &Analysis,
    layout: &DenseLayout,
    values: usize,
    buffer: usize,
) -> Result<()> {
    ready(cuda, stream)?;
    // SAFETY: the caller's contract.
    let dense = unsafe { download::<u16>(cuda, stream, values, layout.extent()) }?;
    let mut compressed = stage::<u8>(analysis.bytes())?;
    format::encode(analysis, layout, &dense, &mut compressed)?;
    // SAFETY: the caller's contract.
    unsafe { upload(cuda, stream, buffer, &compressed) }
}

/// [`format::decode`] from device memory to device memory.
///
/// # Safety
/// `buffer` must be readable and `bytes` long, `values` writable and of the layout's extent in fp16, both
/// device memory of the context.
pub unsafe fn decode(
    cuda: &DeviceContext,
    stream: RawStream,
    bytes: usize,
    buffer: usize,
    layout: &DenseLayout,
    values: usize,
) -> Result<()> {
    ready(cuda, stream)?;
    // SAFETY: the caller's contract.
    let compressed = unsafe { download::<u8>(cuda, stream, buffer, bytes) }?;
    let mut dense = if layout.extent() == layout.rows * layout.cols {
        stage::<u16>(layout.extent())?
    } else {
        // What ld skips has to come back as it was.
        // SAFETY: the caller's contract.
        unsafe { download::<u16>(cuda, stream, values, layout.extent()) }?
    };
    format::decode(&compressed, layout, &mut dense)?;
    // SAFETY: the caller's contract.
    unsafe { upload(cuda, stream, values, &dense) }
}

/// [`format::validate`] of a compressed buffer in device memory.
///
/// # Safety
/// `buffer` must be readable device memory of the context, `bytes` long.
pub unsafe fn validate(
    cuda: &DeviceContext,
    stream: RawStream,
    buffer: *mut c_void,
    bytes: usize,
) -> Result<Header> {
    ready(cuda, stream)?;
    // The header first: the caller's allocation may be much larger than the matrix in it.
    // SAFETY: the caller's contract.
    let head = unsafe { download::<u8>(cuda, stream, buffer.addr(), bytes.min(Header::BYTES)) }?;
    let Ok(head) = <&[u8; Header::BYTES]>::try_from(head.as_slice()) else {
        return Err(Error::new(
            Kind::CorruptData,
            format!(
                "a buffer of {bytes} bytes is shorter than the header of {} bytes",
                Header::BYTES
            ),
        ));
    };
    let header = Header::from_bytes(head)?;
    let total = usize::try_from(header.total_bytes).unwrap_or(usize::MAX).min(bytes);
    // SAFETY: the caller's contract; not more than `bytes`.
    let compressed = unsafe { download::<u8>(cuda, stream, buffer.addr(), total) }?;
    format::validate(&compressed)
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
    ready(cuda, stream)?;
    // SAFETY: the caller's contract.
    let front = unsafe { download::<u8>(cuda, stream, buffer, header.data_offset as usize) }?;
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
    let mut span = stage::<u8>(range.len())?;
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
    let mut compressed = stage::<u8>(needed)?;
    let written = part.write(header, &front, &span, &mut compressed)?;
    // SAFETY: the caller's contract for out.
    unsafe { cuda.upload(stream, out, &compressed) }?;
    Ok(written)
}
