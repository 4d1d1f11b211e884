//! Device memory and copies, in order with a stream.

use std::ffi::c_void;
use std::ptr;

use cust::memory::DevicePointer;

use super::context::DeviceContext;
use super::sys::{self, RawStream};
use crate::error::{Error, Kind, Result};

/// Which memories a copy is between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Host to host.
    HostToHost,
    /// Host to device.
    HostToDevice,
    /// Device to host.
    DeviceToHost,
    /// Device to device.
    DeviceToDevice,
}

impl DeviceContext {
    /// Device memory that belongs to this context until it is freed. `bytes` is not 0.
    pub fn alloc(&self, stream: RawStream, bytes: usize) -> Result<usize> {
        let _entered = self.enter()?;
        self.refuse_capture(stream)?;
        if isize::try_from(bytes).is_err() {
            return Err(Error::new(
                Kind::AllocFailed,
                format!("{bytes} bytes of device memory could not be allocated"),
            ));
        }
        // SAFETY: cust only asks for care with the uninitialised contents, which nobody reads as a value.
        let pointer = unsafe { cust::memory::cuda_malloc::<u8>(bytes) }
            .map_err(|_| sys::last_error(&format!("cuMemAlloc({bytes} bytes)")))?;
        let address = pointer.as_raw() as usize;
        self.allocations().insert(address);
        Ok(address)
    }

    /// Ends an allocation of [`DeviceContext::alloc`].
    pub fn free(&self, stream: RawStream, address: usize) -> Result<()> {
        let foreign = || {
            Error::invalid(format!(
                "ptr = {address:#x} was not allocated by flashllmMalloc with this handle, or is freed already"
            ))
        };
        if !self.allocations().contains(&address) {
            return Err(foreign());
        }
        let _entered = self.enter()?;
        self.refuse_capture(stream)?;
        // Taken out first, so that of two threads only one frees.
        if !self.allocations().remove(&address) {
            return Err(foreign());
        }
        // SAFETY: from cuda_malloc in this context, and nobody else can free it now.
        if unsafe { cust::memory::cuda_free(DevicePointer::<u8>::from_raw(address as u64)) }
            .is_err()
        {
            let error = sys::last_error("cuMemFree");
            self.allocations().insert(address);
            return Err(error);
        }
        Ok(())
    }

    /// Waits for the stream.
    pub fn synchronize(&self, stream: RawStream) -> Result<()> {
        let _entered = self.enter()?;
        self.refuse_capture(stream)?;
        // SAFETY: the handle's stream, in its context.
        unsafe { sys::cuStreamSynchronize(stream) }.check("cuStreamSynchronize")
    }

    /// Copies after all work that is on the stream, and waits for the copy.
    ///
    /// # Safety
    /// Both ranges must be valid for `bytes` in the memories that `direction` names.
    pub unsafe fn copy(
        &self,
        stream: RawStream,
        dst: *mut c_void,
        src: *const c_void,
        bytes: usize,
        direction: Direction,
    ) -> Result<()> {
        let _entered = self.enter()?;
        self.refuse_capture(stream)?;
        let (to, from) = (dst.addr() as u64, src.addr() as u64);
        match direction {
            Direction::HostToHost => {}
            Direction::HostToDevice => {
                // SAFETY: the caller's contract; the ranges outlive the copy, as the stream is waited for below.
                unsafe { sys::cuMemcpyHtoDAsync_v2(to, src, bytes, stream) }
                    .check("cuMemcpyHtoDAsync")?;
            }
            Direction::DeviceToHost => {
                // SAFETY: as above.
                unsafe { sys::cuMemcpyDtoHAsync_v2(dst, from, bytes, stream) }
                    .check("cuMemcpyDtoHAsync")?;
            }
            Direction::DeviceToDevice => {
                // SAFETY: as above.
                unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, bytes, stream) }
                    .check("cuMemcpyDtoDAsync")?;
            }
        }
        // SAFETY: the handle's stream, in its context.
        unsafe { sys::cuStreamSynchronize(stream) }.check("cuStreamSynchronize")?;
        if direction == Direction::HostToHost {
            // SAFETY: the caller's contract; `copy` allows overlap.
            unsafe { ptr::copy(src.cast::<u8>(), dst.cast::<u8>(), bytes) };
        }
        Ok(())
    }
}
