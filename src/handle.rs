//! The library context behind a handle: a device, a stream, and what was allocated through it.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Kind, Result};
use crate::gpu::DeviceContext;

/// What a handle computes on.
#[derive(Debug)]
pub enum Device {
    /// All cores of this machine.
    Host,
    /// One CUDA context.
    Cuda(Box<DeviceContext>),
}

/// One unit of host memory that the library hands out: it carries the alignment.
#[repr(align(256))]
struct Unit {
    _bytes: [u8; Unit::BYTES],
}

impl Unit {
    const BYTES: usize = 256;
}

/// A library context.
pub struct Context {
    device: Device,
    stream: AtomicPtr<c_void>,
    /// Whether alpha and beta are device memory.
    device_scalars: AtomicBool,
    /// Live host allocations by address. The vectors are empty: their spare room is the memory.
    host_memory: Mutex<HashMap<usize, Vec<Unit>>>,
}

impl Context {
    /// A context for this machine's cores.
    pub fn host() -> Self {
        Self::new(Device::Host)
    }

    /// A context for the CUDA context current to the calling thread, else device 0's primary one.
    pub fn cuda() -> Result<Self> {
        Ok(Self::new(Device::Cuda(Box::new(DeviceContext::bind()?))))
    }

    fn new(device: Device) -> Self {
        Self {
            device,
            stream: AtomicPtr::new(ptr::null_mut()),
            device_scalars: AtomicBool::new(false),
            host_memory: Mutex::default(),
        }
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether alpha and beta are read from device memory.
    pub fn device_scalars(&self) -> bool {
        self.device_scalars.load(Ordering::Acquire)
    }

    /// Sets where alpha and beta are read from.
    pub fn set_device_scalars(&self, device: bool) {
        self.device_scalars.store(device, Ordering::Release);
    }

    /// The caller's stream; NULL is the default stream.
    pub fn stream(&self) -> *mut c_void {
        self.stream.load(Ordering::Acquire)
    }

    /// Sets the stream, after asking the driver whether it belongs to this context.
    pub fn set_stream(&self, stream: *mut c_void) -> Result<()> {
        match &self.device {
            Device::Host if !stream.is_null() => {
                return Err(Error::invalid("a host handle has no streams: stream must be NULL"));
            }
            Device::Host => {}
            Device::Cuda(cuda) => cuda.check_stream(stream)?,
        }
        self.stream.store(stream, Ordering::Release);
        Ok(())
    }

    /// Host memory aligned to 256 bytes, kept until it is freed or the context ends.
    pub fn host_alloc(&self, bytes: usize) -> Result<*mut c_void> {
        let mut memory: Vec<Unit> = Vec::new();
        memory.try_reserve_exact(bytes.div_ceil(Unit::BYTES)).map_err(|_| {
            Error::new(
                Kind::AllocFailed,
                format!("{bytes} bytes of host memory could not be allocated"),
            )
        })?;
        let pointer = memory.as_mut_ptr().cast::<c_void>();
        self.host_lock().insert(pointer.addr(), memory);
        Ok(pointer)
    }

    /// Ends an allocation of [`Context::host_alloc`].
    pub fn host_free(&self, address: usize) -> Result<()> {
        match self.host_lock().remove(&address) {
            Some(_) => Ok(()),
            None => Err(Error::invalid(format!(
                "ptr = {address:#x} was not allocated by flashllmMalloc with this handle, or is freed already"
            ))),
        }
    }

    fn host_lock(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Vec<Unit>>> {
        self.host_memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_memory_is_aligned_and_only_its_own_is_freed() {
        let (one, two) = (Context::host(), Context::host());
        let p = one.host_alloc(100).unwrap();
        assert_eq!(p.addr() % 256, 0);
        assert_eq!(two.host_free(p.addr()).unwrap_err().kind(), Kind::InvalidValue);
        assert_eq!(one.host_free(p.addr() + 256).unwrap_err().kind(), Kind::InvalidValue);
        one.host_free(p.addr()).unwrap();
        assert_eq!(one.host_free(p.addr()).unwrap_err().kind(), Kind::InvalidValue);
        assert_eq!(one.host_alloc(usize::MAX).unwrap_err().kind(), Kind::AllocFailed);
    }

    #[test]
    fn a_host_context_has_no_streams() {
        let context = Context::host();
        let stream = ptr::without_provenance_mut(0x1000);
        assert_eq!(context.set_stream(stream).unwrap_err().kind(), Kind::InvalidValue);
        assert!(context.stream().is_null());
        context.set_stream(ptr::null_mut()).unwrap();
    }
}
