//! The CUDA context that a handle is bound to.
//!
//! The caller's current context is never changed: work happens between a push and a pop, or without
//! either when the right context is current anyway.

use std::collections::HashSet;
use std::ffi::c_int;
use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cust::context::CurrentContext;
use cust::device::Device;
use cust::{CudaFlags, memory::DevicePointer};

use super::kernels::{ConvertKernel, Entry, KernelId};
use super::module::Kernels;
use super::staging::Stage;
use super::sys::{self, RawContext, RawFunction, RawStream};
use crate::error::{Error, Kind, Result};
use crate::plan::{self, DeviceProps};
use crate::types::DType;

/// The oldest driver that has the entry points used here. Kernels of a newer toolkit may need a newer one: loading them says so.
const MIN_DRIVER: c_int = 12000;
/// The oldest driver that captures programmatic dependent launches.
const CAPTURES_OVERLAPS: c_int = 12030;
/// The oldest compute capability that there are kernels for.
const MIN_CC: (u32, u32) = (8, 0);

/// A reference to a device's primary context.
///
/// Not `cust::context::Context`: that one makes the context current as it retains it, and the caller's
/// current context must not change even where restoring it would fail.
struct PrimaryReference {
    device: c_int,
}

impl Drop for PrimaryReference {
    fn drop(&mut self) {
        // SAFETY: gives back what was retained. A refusal leaves nothing to try.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

/// A context, and if it is a primary one that we retained, that reference.
struct Binding {
    raw: RawContext,
    _primary: Option<PrimaryReference>,
}

/// Keeps a context current to the calling thread; the previous one comes back when this is dropped.
#[must_use = "the context is current only while the guard lives"]
pub struct ContextGuard<'a> {
    pushed: bool,
    /// A context is current to one thread: the guard must not leave it.
    _here: PhantomData<(&'a DeviceContext, *mut ())>,
}

impl Drop for ContextGuard<'_> {
    fn drop(&mut self) {
        if self.pushed {
            let mut popped: RawContext = ptr::null_mut();
            // SAFETY: pops what `enter` pushed. If the driver refuses there is nothing left to try, and the
            // reason has shown, or will show, in a call that can report it.
            let _ = unsafe { sys::cuCtxPopCurrent_v2(&raw mut popped) };
        }
    }
}

/// Lets this thread load, allocate and free while streams are captured, its own or, in CUDA's default mode, those of
/// other threads: without it such a call fails, and spoils those captures. None of it is put on a stream.
struct AsideFromCaptures {
    mode: c_int,
}

impl AsideFromCaptures {
    fn new() -> Result<Self> {
        let mut mode = sys::STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: a valid place for an integer; it receives the mode of before.
        unsafe { sys::cuThreadExchangeStreamCaptureMode(&raw mut mode) }
            .check("cuThreadExchangeStreamCaptureMode")?;
        Ok(Self { mode })
    }
}

impl Drop for AsideFromCaptures {
    fn drop(&mut self) {
        // SAFETY: as above. It was accepted before; a refusal leaves nothing to try.
        let _ = unsafe { sys::cuThreadExchangeStreamCaptureMode(&raw mut self.mode) };
    }
}

impl Binding {
    fn new() -> Result<Self> {
        let current = current()?;
        if !current.is_null() {
            return Ok(Self { raw: current, _primary: None });
        }
        let device = Device::get_device(0).map_err(|_| sys::last_error("cuDeviceGet"))?;
        let device = device.as_raw();
        let mut raw: RawContext = ptr::null_mut();
        // SAFETY: `raw` is a valid place for a context, `device` a device of the driver.
        unsafe { sys::cuDevicePrimaryCtxRetain(&raw mut raw, device) }
            .check("cuDevicePrimaryCtxRetain")?;
        Ok(Self { raw, _primary: Some(PrimaryReference { device }) })
    }

    fn enter<'a>(&self) -> Result<ContextGuard<'a>> {
        if current()? == self.raw {
            return Ok(ContextGuard { pushed: false, _here: PhantomData });
        }
        // SAFETY: the context lives: it is retained, or its owner promised it to flashllmCreate.
        unsafe { sys::cuCtxPushCurrent_v2(self.raw) }.check("cuCtxPushCurrent")?;
        Ok(ContextGuard { pushed: true, _here: PhantomData })
    }
}

/// Whether a stream of the current context is capturing. The legacy stream counts as such while a blocking stream of
/// the context is: the driver says so, and the capture goes on.
fn is_capturing(stream: RawStream) -> Result<bool> {
    let mut status: c_int = 0;
    // SAFETY: a stream of the context, and a valid place for an integer.
    let result = unsafe { sys::cuStreamIsCapturing(stream, &raw mut status) };
    if result.0 == sys::ERROR_STREAM_CAPTURE_IMPLICIT {
        return Ok(true);
    }
    result.check("cuStreamIsCapturing")?;
    Ok(status != sys::STREAM_CAPTURE_STATUS_NONE)
}

fn current() -> Result<RawContext> {
    let mut context: RawContext = ptr::null_mut();
    // SAFETY: `context` is a valid place for a context.
    unsafe { sys::cuCtxGetCurrent(&raw mut context) }.check("cuCtxGetCurrent")?;
    Ok(context)
}

/// A bound context: its device's properties, its kernels, and the memory allocated through it.
pub struct DeviceContext {
    // Fields drop in this order; `Drop` below has by then undone what needs the context to be current.
    plans: plan::Cache,
    kernels: Kernels,
    allocations: Mutex<HashSet<usize>>,
    /// Pinned memory, once a copy has needed it.
    stage: Mutex<Option<Stage>>,
    binding: Binding,
    driver: c_int,
}

// SAFETY: the raw context, modules and functions are process-wide driver objects that any thread may use
// once the context is current to it, which `enter` sees to; everything else in here is Send.
unsafe impl Send for DeviceContext {}
// SAFETY: as above; what changes after construction is behind a mutex.
unsafe impl Sync for DeviceContext {}

impl fmt::Debug for DeviceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceContext").field("props", self.props()).finish_non_exhaustive()
    }
}

impl DeviceContext {
    /// Binds the context that is current to the calling thread, else device 0's primary one, and loads all
    /// kernels. On failure everything is as it was before. A capture that the driver tells of is a failure; one that it
    /// does not (of a stream that is not blocking) goes on undamaged.
    pub fn bind() -> Result<Self> {
        let driver = driver_ready()?;
        if cfg!(no_kernels) {
            return Err(Error::new(
                Kind::NotSupported,
                "this library was built without GPU kernels (no nvcc was found); flashllmCreateHost works",
            ));
        }
        let aside = AsideFromCaptures::new()?;
        let binding = Binding::new()?;
        // Declared after `binding`, so that it pops before a failure releases the context.
        let entered = binding.enter()?;
        if is_capturing(sys::STREAM_LEGACY)? {
            return Err(Error::new(
                Kind::NotSupported,
                "a blocking stream of the CUDA context is capturing, and flashllmCreate loads kernels: create the handle before the capture begins, or capture a stream that was made with CU_STREAM_NON_BLOCKING",
            ));
        }
        let props = device_props()?;
        if props.cc < MIN_CC {
            return Err(Error::new(
                Kind::ArchMismatch,
                format!(
                    "{} has compute capability {}.{}, and the kernels need {}.{} or later",
                    props.name, props.cc.0, props.cc.1, MIN_CC.0, MIN_CC.1
                ),
            ));
        }
        let kernels = Kernels::load(&props)?;
        drop(entered);
        drop(aside);
        let plans = plan::Cache::new(props);
        Ok(Self {
            plans,
            kernels,
            allocations: Mutex::default(),
            stage: Mutex::default(),
            binding,
            driver,
        })
    }

    /// Facts about the device that the plans are made from.
    pub fn props(&self) -> &DeviceProps {
        self.plans.props()
    }

    /// Whether launches of one call may overlap without being asked to: programmatic dependent launches can be captured, too.
    pub fn captures_overlaps(&self) -> bool {
        self.driver >= CAPTURES_OVERLAPS
    }

    /// Plans of products.
    pub fn plans(&self) -> &plan::Cache {
        &self.plans
    }

    /// The CUcontext's address: what tells one context from another.
    pub fn address(&self) -> usize {
        self.binding.raw.addr()
    }

    /// Makes the context current until the guard is dropped.
    pub fn enter(&self) -> Result<ContextGuard<'_>> {
        self.binding.enter()
    }

    /// An entry point of a kernel for matrices of an element type, which was loaded when the context was bound.
    pub fn function(&self, id: KernelId, entry: Entry, dtype: DType) -> Result<RawFunction> {
        self.kernels.function(id, entry, dtype)
    }

    /// A conversion kernel that was loaded when the context was bound.
    pub fn convert_function(&self, kernel: ConvertKernel) -> Result<RawFunction> {
        self.kernels.convert_function(kernel)
    }

    /// Refuses a stream of another context.
    pub fn check_stream(&self, stream: RawStream) -> Result<()> {
        // NULL, CU_STREAM_LEGACY and CU_STREAM_PER_THREAD belong to whichever context is current.
        if stream.addr() <= 2 {
            return Ok(());
        }
        let _entered = self.enter()?;
        let mut owner: RawContext = ptr::null_mut();
        // SAFETY: the caller says that it is a live stream; `owner` is a valid place for a context.
        unsafe { sys::cuStreamGetCtx(stream, &raw mut owner) }.check("cuStreamGetCtx")?;
        if owner != self.binding.raw {
            return Err(Error::new(
                Kind::WrongContext,
                format!(
                    "stream = {stream:p} belongs to the CUDA context {owner:p}, the handle to {:p}",
                    self.binding.raw
                ),
            ));
        }
        Ok(())
    }

    /// Refuses, before it could spoil the capture, what a capturing stream does not allow. The context is current.
    pub(super) fn refuse_capture(&self, stream: RawStream) -> Result<()> {
        if is_capturing(stream)? {
            return Err(Error::new(
                Kind::NotSupported,
                format!(
                    "the handle's stream {stream:p} is capturing, and this call prepares, allocates or waits: make it before the capture begins, or set another stream first"
                ),
            ));
        }
        Ok(())
    }

    /// Refuses a capturing stream, whichever context is current.
    pub fn refuse_if_capturing(&self, stream: RawStream) -> Result<()> {
        let _entered = self.enter()?;
        self.refuse_capture(stream)
    }

    pub(super) fn allocations(&self) -> MutexGuard<'_, HashSet<usize>> {
        self.allocations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pinned memory, for one copy at a time.
    pub(super) fn stage(&self) -> MutexGuard<'_, Option<Stage>> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DeviceContext {
    fn drop(&mut self) {
        let kernels = std::mem::take(&mut self.kernels);
        let allocations = std::mem::take(&mut *self.allocations());
        let stage = self.stage().take();
        let _aside = AsideFromCaptures::new();
        // A context that cannot be entered is gone or the driver is shutting down: so are its modules and
        // memory, and there is nothing to give back but the reference to the primary context.
        let Ok(_entered) = self.binding.enter() else {
            kernels.forget();
            return;
        };
        for address in allocations {
            // SAFETY: from cuda_malloc, removed from the set so that nobody else frees it. The driver may
            // report an earlier failure of the device here; Destroy has no use for it.
            let _ =
                unsafe { cust::memory::cuda_free(DevicePointer::<u8>::from_raw(address as u64)) };
        }
        if let Some(stage) = stage {
            stage.free();
        }
        drop(kernels);
    }
}

/// The driver's version; NO_DEVICE or NOT_SUPPORTED unless it is new enough, and there is a device.
fn driver_ready() -> Result<c_int> {
    if !sys::driver_present() {
        return Err(Error::from_driver(
            Kind::NoDevice,
            sys::ERROR_STUB_LIBRARY,
            "there is no NVIDIA driver: libcuda.so.1 could not be opened; flashllmCreateHost works without one",
        ));
    }
    // The version before cuInit: an old driver should be called old, whatever else it refuses.
    let mut version: c_int = 0;
    // SAFETY: `version` is a valid place for an integer; allowed before cuInit.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.check("cuDriverGetVersion")?;
    if version < MIN_DRIVER {
        return Err(Error::new(
            Kind::NotSupported,
            format!(
                "the NVIDIA driver supports CUDA {}.{}, and CUDA {}.{} or later is needed: update the driver",
                version / 1000,
                version % 1000 / 10,
                MIN_DRIVER / 1000,
                MIN_DRIVER % 1000 / 10
            ),
        ));
    }
    cust::init(CudaFlags::empty()).map_err(|_| sys::last_error("cuInit"))?;
    let devices = Device::num_devices().map_err(|_| sys::last_error("cuDeviceGetCount"))?;
    if devices == 0 {
        return Err(Error::from_driver(
            Kind::NoDevice,
            sys::ERROR_NO_DEVICE,
            "the NVIDIA driver reports no CUDA device",
        ));
    }
    Ok(version)
}

/// Properties of the device of the current context.
fn device_props() -> Result<DeviceProps> {
    let device = CurrentContext::get_device().map_err(|_| sys::last_error("cuCtxGetDevice"))?;
    let raw = device.as_raw();
    let attribute = |attribute: c_int| -> Result<u32> {
        let mut value: c_int = 0;
        // SAFETY: `value` is a valid place for an integer, `raw` a device of the driver.
        unsafe { sys::cuDeviceGetAttribute(&raw mut value, attribute, raw) }
            .check("cuDeviceGetAttribute")?;
        u32::try_from(value).map_err(|_| {
            Error::new(Kind::DriverError, format!("cuDeviceGetAttribute({attribute}) gave {value}"))
        })
    };
    Ok(DeviceProps {
        sm_count: attribute(sys::DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        cc: (
            attribute(sys::DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(sys::DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        smem_per_block_optin: attribute(sys::DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        smem_per_sm: attribute(sys::DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)?,
        l2_bytes: u64::from(attribute(sys::DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?),
        name: device.name().map_err(|_| sys::last_error("cuDeviceGetName"))?,
    })
}
