//! Copies between files and device memory at the speed of the slower of the two: through two pinned buffers,
//! of which one is filled or emptied while the device copies the other.
//!
//! The buffers are made at the first large copy and kept until the context ends: pinning memory takes longer
//! than copying it.

use std::ffi::c_void;
use std::{ptr, slice};

use rayon::prelude::*;

use super::context::DeviceContext;
use super::memory::Direction;
use super::sys::{self, RawEvent, RawStream};
use crate::error::Result;
use crate::pool;
use crate::types::zeros;

/// Bytes of one pinned buffer.
pub const STAGE_BYTES: usize = 16 << 20;
/// Less than this is not worth pinned buffers.
const SMALL: usize = 1 << 20;
/// What one thread copies between the page cache and a pinned buffer: one thread alone is slower than PCIe.
const PIECE: usize = 1 << 20;

/// Two pinned buffers and the events that say when the device has done with them.
pub(super) struct Stage {
    buffers: [*mut u8; 2],
    events: [RawEvent; 2],
}

// SAFETY: pinned memory and events are process-wide; whoever has the Stage is their only user.
unsafe impl Send for Stage {}

impl Stage {
    /// With the context current. Frees what it got when the rest fails.
    fn new() -> Result<Self> {
        let mut stage = Self { buffers: [ptr::null_mut(); 2], events: [ptr::null_mut(); 2] };
        match stage.fill() {
            Ok(()) => Ok(stage),
            Err(error) => {
                stage.free();
                Err(error)
            }
        }
    }

    fn fill(&mut self) -> Result<()> {
        for buffer in &mut self.buffers {
            let mut memory: *mut c_void = ptr::null_mut();
            // SAFETY: a valid place for a pointer; a context is current.
            unsafe {
                sys::cuMemHostAlloc(&raw mut memory, STAGE_BYTES, sys::MEMHOSTALLOC_PORTABLE)
            }
            .check("cuMemHostAlloc")?;
            *buffer = memory.cast();
            // SAFETY: just allocated, of this size; from here on it is initialised.
            unsafe { buffer.write_bytes(0, STAGE_BYTES) };
        }
        for event in &mut self.events {
            // SAFETY: a valid place for an event; a context is current.
            unsafe { sys::cuEventCreate(event, sys::EVENT_DISABLE_TIMING) }
                .check("cuEventCreate")?;
        }
        Ok(())
    }

    /// With the context current and no copy under way.
    pub(super) fn free(self) {
        for event in self.events.into_iter().filter(|event| !event.is_null()) {
            // SAFETY: made by `fill`; nobody uses it any more.
            let _ = unsafe { sys::cuEventDestroy_v2(event) };
        }
        for buffer in self.buffers.into_iter().filter(|buffer| !buffer.is_null()) {
            // SAFETY: made by `fill`; nobody uses it any more.
            let _ = unsafe { sys::cuMemFreeHost(buffer.cast()) };
        }
    }

    /// The memory of buffer `slot`.
    ///
    /// # Safety
    /// No copy of the device may use the buffer while the slice lives.
    unsafe fn buffer(&mut self, slot: usize) -> &mut [u8] {
        // SAFETY: allocated and initialised in this size by `fill`; borrowed with the Stage.
        unsafe { slice::from_raw_parts_mut(self.buffers[slot], STAGE_BYTES) }
    }

    fn record(&self, slot: usize, stream: RawStream) -> Result<()> {
        // SAFETY: a live event and the handle's stream, both of the current context.
        unsafe { sys::cuEventRecord(self.events[slot], stream) }.check("cuEventRecord")
    }

    fn wait(&self, slot: usize) -> Result<()> {
        // SAFETY: a live event of the current context. One that was never recorded is complete.
        unsafe { sys::cuEventSynchronize(self.events[slot]) }.check("cuEventSynchronize")
    }

    fn upload(
        &mut self,
        stream: RawStream,
        dst: u64,
        src: &[u8],
        fill: &mut dyn FnMut(&mut [u8], &[u8]),
    ) -> Result<()> {
        for (index, chunk) in src.chunks(STAGE_BYTES).enumerate() {
            let slot = index % 2;
            self.wait(slot)?;
            // SAFETY: the copy that used this buffer is done, as its event says.
            let buffer = unsafe { &mut self.buffer(slot)[..chunk.len()] };
            fill(buffer, chunk);
            let to = dst + (index * STAGE_BYTES) as u64;
            // SAFETY: dst is as long as src by the caller's contract; the buffer stays until its event has
            // come, or, at the end, the stream was waited for.
            unsafe { sys::cuMemcpyHtoDAsync_v2(to, buffer.as_ptr().cast(), chunk.len(), stream) }
                .check("cuMemcpyHtoDAsync")?;
            self.record(slot, stream)?;
        }
        Ok(())
    }

    fn start_download(
        &mut self,
        stream: RawStream,
        src: u64,
        slot: usize,
        bytes: usize,
    ) -> Result<()> {
        let to = self.buffers[slot];
        // SAFETY: src is `bytes` long by the caller's contract, and a buffer is not shorter.
        unsafe { sys::cuMemcpyDtoHAsync_v2(to.cast(), src, bytes, stream) }
            .check("cuMemcpyDtoHAsync")?;
        self.record(slot, stream)
    }

    fn download(
        &mut self,
        stream: RawStream,
        src: u64,
        bytes: usize,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let chunks = bytes.div_ceil(STAGE_BYTES);
        let length = |index: usize| (bytes - index * STAGE_BYTES).min(STAGE_BYTES);
        let address = |index: usize| src + (index * STAGE_BYTES) as u64;
        self.start_download(stream, address(0), 0, length(0))?;
        for index in 0..chunks {
            if index + 1 < chunks {
                // Its buffer was emptied by the sink in the step before.
                self.start_download(
                    stream,
                    address(index + 1),
                    (index + 1) % 2,
                    length(index + 1),
                )?;
            }
            self.wait(index % 2)?;
            // SAFETY: the copy into this buffer is done, and the next one into it begins after the sink.
            let buffer = unsafe { &self.buffer(index % 2)[..length(index)] };
            sink(buffer)?;
        }
        Ok(())
    }
}

/// With several threads: what comes from a mapped file is read from the disk as it is touched.
fn copy(to: &mut [u8], from: &[u8]) {
    let pieces = to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE));
    pool::run(|| pieces.for_each(|(to, from)| to.copy_from_slice(from)));
}

impl DeviceContext {
    /// Runs `work` with the stage, or without one where the bytes are few or memory cannot be pinned; then
    /// waits for the stream, so that no copy uses the stage, or the caller's memory, afterwards.
    fn staged<T>(
        &self,
        stream: RawStream,
        bytes: usize,
        work: impl FnOnce(Option<&mut Stage>) -> Result<T>,
    ) -> Result<T> {
        let _entered = self.enter()?;
        self.refuse_capture(stream)?;
        let mut kept = self.stage();
        if kept.is_none() && bytes >= SMALL {
            *kept = Stage::new().ok();
        }
        let stage = if bytes >= SMALL { kept.as_mut() } else { None };
        let result = work(stage);
        // SAFETY: the handle's stream, in its context.
        let waited = unsafe { sys::cuStreamSynchronize(stream) }.check("cuStreamSynchronize");
        let result = result?;
        waited?;
        Ok(result)
    }

    /// Copies host memory to device memory after all work on the stream, and waits for the copy.
    ///
    /// # Safety
    /// `dst` must be writable device memory of the context, as long as `src`.
    pub unsafe fn upload(&self, stream: RawStream, dst: usize, src: &[u8]) -> Result<()> {
        self.staged(stream, src.len(), |stage| match stage {
            Some(stage) => stage.upload(stream, dst as u64, src, &mut copy),
            None if src.is_empty() => Ok(()),
            // SAFETY: the caller's contract for dst; src is as long as it says.
            None => unsafe { self.upload_piece(stream, dst, src) },
        })
    }

    /// [`DeviceContext::upload`] of what `fill` copies: it gets memory and the next bytes of `src`, as many, a
    /// multiple of 1 MiB unless they are the last.
    ///
    /// # Safety
    /// `dst` must be writable device memory of the context, as long as `src`.
    pub unsafe fn upload_with(
        &self,
        stream: RawStream,
        dst: usize,
        src: &[u8],
        fill: &mut dyn FnMut(&mut [u8], &[u8]),
    ) -> Result<()> {
        self.staged(stream, src.len(), |stage| match stage {
            Some(stage) => stage.upload(stream, dst as u64, src, fill),
            None => {
                let mut memory = zeros(src.len().min(STAGE_BYTES), "the copy")?;
                for (index, chunk) in src.chunks(STAGE_BYTES).enumerate() {
                    let memory = &mut memory[..chunk.len()];
                    fill(memory, chunk);
                    // SAFETY: the caller's contract for dst; the memory is as long as it says.
                    unsafe { self.upload_piece(stream, dst + index * STAGE_BYTES, memory) }?;
                }
                Ok(())
            }
        })
    }

    /// Copies pageable memory.
    ///
    /// # Safety
    /// `dst` must be writable device memory of the context, as long as `src`.
    unsafe fn upload_piece(&self, stream: RawStream, dst: usize, src: &[u8]) -> Result<()> {
        // SAFETY: the caller's contract for dst; src is as long as it says.
        unsafe {
            self.copy(
                stream,
                ptr::without_provenance_mut(dst),
                src.as_ptr().cast(),
                src.len(),
                Direction::HostToDevice,
            )
        }
    }

    /// Gives device memory to `sink` in pieces and in order, after all work on the stream. A piece is at
    /// least as long as the header of a compressed buffer, unless all is shorter.
    ///
    /// # Safety
    /// `src` must be readable device memory of the context, `bytes` long.
    pub unsafe fn download(
        &self,
        stream: RawStream,
        src: usize,
        bytes: usize,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.staged(stream, bytes, |stage| match stage {
            Some(stage) => stage.download(stream, src as u64, bytes, sink),
            None if bytes == 0 => Ok(()),
            None => {
                let mut memory = zeros::<u8>(bytes.min(STAGE_BYTES), "the copy")?;
                let mut done = 0;
                while done < bytes {
                    let count = (bytes - done).min(STAGE_BYTES);
                    // SAFETY: the caller's contract for src; the memory is as long.
                    unsafe {
                        self.copy(
                            stream,
                            memory.as_mut_ptr().cast(),
                            ptr::without_provenance(src + done),
                            count,
                            Direction::DeviceToHost,
                        )
                    }?;
                    sink(&memory[..count])?;
                    done += count;
                }
                Ok(())
            }
        })
    }
}
