//! The few calls of the CUDA driver that the GPU tests and the benchmark need, loaded at run time.
//!
//! Independent of the library under test: what it does to contexts and streams is observed from here.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};

use libloading::Library;

pub type Ptr = *mut c_void;
pub type Result<T> = std::result::Result<T, String>;

/// `CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT`, `_L2_CACHE_SIZE`.
pub const ATTRIBUTE_SM_COUNT: c_int = 16;
pub const ATTRIBUTE_L2_BYTES: c_int = 38;

/// `CU_STREAM_CAPTURE_MODE_GLOBAL`, `_THREAD_LOCAL`, `_RELAXED`.
pub const CAPTURE_GLOBAL: c_int = 0;
pub const CAPTURE_THREAD_LOCAL: c_int = 1;
pub const CAPTURE_RELAXED: c_int = 2;

macro_rules! driver {
    ($($field:ident = $symbol:literal ($($argument:ty),*);)*) => {
        /// Entry points, by their names in cuda.h without `cu`.
        struct Calls { $($field: unsafe extern "C" fn($($argument),*) -> c_int,)* }

        impl Calls {
            fn load(library: &Library) -> Result<Self> {
                Ok(Self { $($field: {
                    // SAFETY: the type is the one cuda.h gives this name.
                    let symbol = unsafe { library.get($symbol) };
                    *symbol.map_err(|e| format!("the driver has no {}: {e}",
                        String::from_utf8_lossy($symbol).trim_end_matches('\0')))?
                },)* })
            }
        }
    };
}

driver! {
    init = b"cuInit\0" (c_uint);
    driver_get_version = b"cuDriverGetVersion\0" (*mut c_int);
    device_get_count = b"cuDeviceGetCount\0" (*mut c_int);
    device_get = b"cuDeviceGet\0" (*mut c_int, c_int);
    device_get_name = b"cuDeviceGetName\0" (*mut c_char, c_int, c_int);
    device_get_attribute = b"cuDeviceGetAttribute\0" (*mut c_int, c_int, c_int);
    primary_retain = b"cuDevicePrimaryCtxRetain\0" (*mut Ptr, c_int);
    primary_release = b"cuDevicePrimaryCtxRelease_v2\0" (c_int);
    ctx_set_current = b"cuCtxSetCurrent\0" (Ptr);
    ctx_get_current = b"cuCtxGetCurrent\0" (*mut Ptr);
    ctx_create = b"cuCtxCreate_v2\0" (*mut Ptr, c_uint, c_int);
    ctx_destroy = b"cuCtxDestroy_v2\0" (Ptr);
    mem_alloc = b"cuMemAlloc_v2\0" (*mut u64, usize);
    mem_free = b"cuMemFree_v2\0" (u64);
    mem_host_alloc = b"cuMemHostAlloc\0" (*mut Ptr, usize, c_uint);
    mem_host_free = b"cuMemFreeHost\0" (Ptr);
    memcpy_to_device_async = b"cuMemcpyHtoDAsync_v2\0" (u64, *const c_void, usize, Ptr);
    memcpy_to_device = b"cuMemcpyHtoD_v2\0" (u64, *const c_void, usize);
    memcpy_to_host = b"cuMemcpyDtoH_v2\0" (Ptr, u64, usize);
    memcpy_device_async = b"cuMemcpyDtoDAsync_v2\0" (u64, u64, usize, Ptr);
    memset_async = b"cuMemsetD8Async\0" (u64, u8, usize, Ptr);
    stream_create = b"cuStreamCreate\0" (*mut Ptr, c_uint);
    stream_destroy = b"cuStreamDestroy_v2\0" (Ptr);
    stream_synchronize = b"cuStreamSynchronize\0" (Ptr);
    event_create = b"cuEventCreate\0" (*mut Ptr, c_uint);
    event_destroy = b"cuEventDestroy_v2\0" (Ptr);
    event_record = b"cuEventRecord\0" (Ptr, Ptr);
    event_elapsed = b"cuEventElapsedTime\0" (*mut f32, Ptr, Ptr);
    begin_capture = b"cuStreamBeginCapture_v2\0" (Ptr, c_int);
    exchange_capture_mode = b"cuThreadExchangeStreamCaptureMode\0" (*mut c_int);
    end_capture = b"cuStreamEndCapture\0" (Ptr, *mut Ptr);
    graph_instantiate = b"cuGraphInstantiateWithFlags\0" (*mut Ptr, Ptr, c_ulonglong);
    graph_launch = b"cuGraphLaunch\0" (Ptr, Ptr);
    graph_exec_destroy = b"cuGraphExecDestroy\0" (Ptr);
    graph_destroy = b"cuGraphDestroy\0" (Ptr);
}

fn check(call: &str, result: c_int) -> Result<()> {
    if result == 0 { Ok(()) } else { Err(format!("{call} returned CUresult {result}")) }
}

/// The driver, device 0 and its primary context.
pub struct Driver {
    calls: Calls,
    device: c_int,
    primary: Ptr,
    // Dropped last: the entry points lie in it.
    _library: Library,
}

// Each method is one driver call. The driver checks every handle and address that comes in, and the
// owners below (Stream, Event, Memory, Graph) keep theirs alive, so one statement covers them all:
macro_rules! call {
    ($driver:expr, $field:ident ( $($argument:expr),* )) => {
        // SAFETY: the entry point has this signature, out-pointers are places on the stack, and host
        // ranges are live slices of the length that is passed.
        check(stringify!($field), unsafe { ($driver.calls.$field)($($argument),*) })
    };
}

impl Driver {
    /// Loads libcuda.so.1 and makes device 0's primary context current on this thread.
    pub fn load() -> Result<Self> {
        // SAFETY: the driver's initialisers are safe to run; it is never unloaded while in use.
        let library = unsafe { Library::new("libcuda.so.1") }
            .map_err(|e| format!("no NVIDIA driver: {e}"))?;
        let calls = Calls::load(&library)?;
        let mut driver =
            Self { calls, device: 0, primary: std::ptr::null_mut(), _library: library };
        call!(driver, init(0))?;
        let (mut device, mut primary) = (0, std::ptr::null_mut());
        call!(driver, device_get(&mut device, 0))?;
        call!(driver, primary_retain(&mut primary, device))?;
        driver.device = device;
        driver.primary = primary;
        driver.set_current(primary)?;
        Ok(driver)
    }

    /// The highest CUDA version of the driver, as "13.0".
    pub fn version(&self) -> Result<String> {
        let mut version = 0;
        call!(self, driver_get_version(&mut version))?;
        Ok(format!("{}.{}", version / 1000, version % 1000 / 10))
    }

    pub fn device_name(&self) -> Result<String> {
        let mut name = [0u8; 256];
        call!(self, device_get_name(name.as_mut_ptr().cast(), name.len() as c_int, self.device))?;
        let name = CStr::from_bytes_until_nul(&name).map_err(|e| e.to_string())?;
        Ok(name.to_string_lossy().into_owned())
    }

    pub fn attribute(&self, attribute: c_int) -> Result<usize> {
        let mut value = 0;
        call!(self, device_get_attribute(&mut value, attribute, self.device))?;
        usize::try_from(value).map_err(|e| e.to_string())
    }

    pub fn device_count(&self) -> Result<c_int> {
        let mut count = 0;
        call!(self, device_get_count(&mut count))?;
        Ok(count)
    }

    /// The primary context of another device, retained for good.
    pub fn primary_of(&self, ordinal: c_int) -> Result<Ptr> {
        let (mut device, mut context) = (0, std::ptr::null_mut());
        call!(self, device_get(&mut device, ordinal))?;
        call!(self, primary_retain(&mut context, device))?;
        Ok(context)
    }

    pub fn primary(&self) -> Ptr {
        self.primary
    }

    pub fn current(&self) -> Result<Ptr> {
        let mut context = std::ptr::null_mut();
        call!(self, ctx_get_current(&mut context))?;
        Ok(context)
    }

    pub fn set_current(&self, context: Ptr) -> Result<()> {
        call!(self, ctx_set_current(context))
    }

    /// A second context on the device; it becomes current.
    pub fn create_context(&self) -> Result<Ptr> {
        let mut context = std::ptr::null_mut();
        call!(self, ctx_create(&mut context, 0, self.device))?;
        Ok(context)
    }

    pub fn destroy_context(&self, context: Ptr) -> Result<()> {
        call!(self, ctx_destroy(context))
    }

    pub fn stream(&self) -> Result<Stream<'_>> {
        self.stream_with(1) // CU_STREAM_NON_BLOCKING
    }

    /// A stream that waits for the default one.
    pub fn blocking_stream(&self) -> Result<Stream<'_>> {
        self.stream_with(0) // CU_STREAM_DEFAULT
    }

    fn stream_with(&self, flags: c_uint) -> Result<Stream<'_>> {
        let mut raw = std::ptr::null_mut();
        call!(self, stream_create(&mut raw, flags))?;
        Ok(Stream { driver: self, raw })
    }

    /// Sets how strictly this thread is held while streams are captured, and gives how it was.
    pub fn exchange_capture_mode(&self, mode: c_int) -> Result<c_int> {
        let mut mode = mode;
        call!(self, exchange_capture_mode(&mut mode))?;
        Ok(mode)
    }

    pub fn event(&self) -> Result<Event<'_>> {
        let mut raw = std::ptr::null_mut();
        call!(self, event_create(&mut raw, 0))?;
        Ok(Event { driver: self, raw })
    }

    pub fn alloc(&self, bytes: usize) -> Result<Memory<'_>> {
        let mut address = 0;
        call!(self, mem_alloc(&mut address, bytes.max(1)))
            .map_err(|e| format!("{bytes} bytes: {e}"))?;
        Ok(Memory { driver: self, address, bytes })
    }
}

impl Driver {
    /// Host memory that the device copies from by itself, filled with zeros.
    pub fn pinned(&self, bytes: usize) -> Result<Pinned<'_>> {
        let mut raw = std::ptr::null_mut();
        call!(self, mem_host_alloc(&mut raw, bytes.max(1), 0))?;
        // SAFETY: just allocated, of this size.
        unsafe { raw.cast::<u8>().write_bytes(0, bytes) };
        Ok(Pinned { driver: self, raw, bytes })
    }
}

/// Page-locked host memory.
pub struct Pinned<'d> {
    driver: &'d Driver,
    raw: Ptr,
    bytes: usize,
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        let _ = call!(self.driver, mem_host_free(self.raw));
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = call!(self, primary_release(self.device));
    }
}

/// A stream.
pub struct Stream<'d> {
    driver: &'d Driver,
    raw: Ptr,
}

impl<'d> Stream<'d> {
    pub fn raw(&self) -> Ptr {
        self.raw
    }

    pub fn synchronize(&self) -> Result<()> {
        call!(self.driver, stream_synchronize(self.raw))
    }

    pub fn begin_capture(&self) -> Result<()> {
        self.begin_capture_as(CAPTURE_THREAD_LOCAL)
    }

    pub fn begin_capture_as(&self, mode: c_int) -> Result<()> {
        call!(self.driver, begin_capture(self.raw, mode))
    }

    pub fn end_capture(&self) -> Result<Graph<'d>> {
        let (mut graph, mut exec) = (std::ptr::null_mut(), std::ptr::null_mut());
        call!(self.driver, end_capture(self.raw, &mut graph))?;
        call!(self.driver, graph_instantiate(&mut exec, graph, 0))?;
        Ok(Graph { driver: self.driver, graph, exec })
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let _ = call!(self.driver, stream_destroy(self.raw));
    }
}

/// A captured and instantiated graph.
pub struct Graph<'d> {
    driver: &'d Driver,
    graph: Ptr,
    exec: Ptr,
}

impl Graph<'_> {
    pub fn launch(&self, stream: &Stream<'_>) -> Result<()> {
        call!(self.driver, graph_launch(self.exec, stream.raw))
    }
}

impl Drop for Graph<'_> {
    fn drop(&mut self) {
        let _ = call!(self.driver, graph_exec_destroy(self.exec));
        let _ = call!(self.driver, graph_destroy(self.graph));
    }
}

/// A timing event.
pub struct Event<'d> {
    driver: &'d Driver,
    raw: Ptr,
}

impl Event<'_> {
    pub fn record(&self, stream: &Stream<'_>) -> Result<()> {
        call!(self.driver, event_record(self.raw, stream.raw))
    }

    /// Microseconds from `start` to this event; both have completed.
    pub fn micros_since(&self, start: &Event<'_>) -> Result<f64> {
        let mut milliseconds = 0.0f32;
        call!(self.driver, event_elapsed(&mut milliseconds, start.raw, self.raw))?;
        Ok(f64::from(milliseconds) * 1e3)
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        let _ = call!(self.driver, event_destroy(self.raw));
    }
}

/// Device memory.
pub struct Memory<'d> {
    driver: &'d Driver,
    address: u64,
    bytes: usize,
}

impl Memory<'_> {
    pub fn address(&self) -> u64 {
        self.address
    }

    pub fn pointer(&self) -> Ptr {
        self.address as usize as Ptr
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn write<T: Copy>(&self, values: &[T]) -> Result<()> {
        assert!(size_of_val(values) <= self.bytes, "write past the allocation");
        call!(
            self.driver,
            memcpy_to_device(self.address, values.as_ptr().cast(), size_of_val(values))
        )
    }

    pub fn copy_from_host(&self, from: &Pinned<'_>, stream: &Stream<'_>) -> Result<()> {
        let bytes = self.bytes.min(from.bytes);
        call!(self.driver, memcpy_to_device_async(self.address, from.raw, bytes, stream.raw))
    }

    pub fn read<T: Copy + Default>(&self, count: usize) -> Result<Vec<T>> {
        let mut out = vec![T::default(); count];
        assert!(size_of_val(&out[..]) <= self.bytes, "read past the allocation");
        call!(
            self.driver,
            memcpy_to_host(out.as_mut_ptr().cast(), self.address, size_of_val(&out[..]))
        )?;
        Ok(out)
    }

    pub fn fill(&self, value: u8, stream: &Stream<'_>) -> Result<()> {
        call!(self.driver, memset_async(self.address, value, self.bytes, stream.raw))
    }

    pub fn copy_from(&self, other: &Memory<'_>, stream: &Stream<'_>) -> Result<()> {
        let bytes = self.bytes.min(other.bytes);
        call!(self.driver, memcpy_device_async(self.address, other.address, bytes, stream.raw))
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        let _ = call!(self.driver, mem_free(self.address));
    }
}
