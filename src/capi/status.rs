//! Status codes, their texts, and what the calling thread can ask about its last failure.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_int};

use crate::error::{Error, Kind};

/// Result of every function. 0 to 11 have cuSPARSE's numbers and meanings; from 100 on they are this
/// library's own. A value is never reused; 5 and 9 are reserved.
///
/// Every failing call also leaves one sentence for the calling thread: flashllmGetLastErrorMessage().
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum flashllmStatus_t {
    /// The call did what it says.
    FLASHLLM_STATUS_SUCCESS = 0,
    /// The handle is NULL, was destroyed, or is not a handle.
    FLASHLLM_STATUS_NOT_INITIALIZED = 1,
    /// Host or device memory could not be allocated.
    FLASHLLM_STATUS_ALLOC_FAILED = 2,
    /// An argument is outside its documented range, or does not fit another one.
    FLASHLLM_STATUS_INVALID_VALUE = 3,
    /// The device is older than the oldest one this library has kernels for.
    FLASHLLM_STATUS_ARCH_MISMATCH = 4,
    /// A kernel or a transfer failed on the device.
    FLASHLLM_STATUS_EXECUTION_FAILED = 6,
    /// A defect of this library; the message says what to report.
    FLASHLLM_STATUS_INTERNAL_ERROR = 7,
    /// The function does not support this element type.
    FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED = 8,
    /// The request is well formed, but this release or this build does not do it.
    FLASHLLM_STATUS_NOT_SUPPORTED = 10,
    /// The problem needs more of a device resource than there is.
    FLASHLLM_STATUS_INSUFFICIENT_RESOURCES = 11,
    /// A required pointer is NULL.
    FLASHLLM_STATUS_NULL_POINTER = 100,
    /// A buffer is smaller than its size query said.
    FLASHLLM_STATUS_WORKSPACE_TOO_SMALL = 101,
    /// A compressed buffer contradicts its format.
    FLASHLLM_STATUS_CORRUPT_DATA = 102,
    /// A pointer is not aligned as documented.
    FLASHLLM_STATUS_MISALIGNED = 103,
    /// There is no NVIDIA driver or no CUDA device.
    FLASHLLM_STATUS_NO_DEVICE = 104,
    /// The driver refused a call; flashllmGetLastDriverError() gives its CUresult.
    FLASHLLM_STATUS_DRIVER_ERROR = 105,
    /// The compressed buffer has a format version that this library does not read.
    FLASHLLM_STATUS_VERSION_MISMATCH = 106,
    /// A size computed from the arguments does not fit its type.
    FLASHLLM_STATUS_SIZE_OVERFLOW = 107,
    /// A stream or a buffer belongs to another CUDA context than the handle.
    FLASHLLM_STATUS_WRONG_CONTEXT = 108,
    /// A file could not be opened, read, written or renamed; the message has the operating system's reason.
    FLASHLLM_STATUS_IO_ERROR = 109,
}

/// A status as C hands it over: any int.
/// cbindgen:no-export
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawStatus(pub c_int);

use flashllmStatus_t::*;

/// Name and description of every status; `name_of` and `text_of` search it.
const TEXTS: &[(flashllmStatus_t, &CStr, &CStr)] = &[
    (FLASHLLM_STATUS_SUCCESS, c"FLASHLLM_STATUS_SUCCESS", c"success"),
    (
        FLASHLLM_STATUS_NOT_INITIALIZED,
        c"FLASHLLM_STATUS_NOT_INITIALIZED",
        c"the handle is NULL, destroyed, or not a handle",
    ),
    (
        FLASHLLM_STATUS_ALLOC_FAILED,
        c"FLASHLLM_STATUS_ALLOC_FAILED",
        c"memory could not be allocated",
    ),
    (
        FLASHLLM_STATUS_INVALID_VALUE,
        c"FLASHLLM_STATUS_INVALID_VALUE",
        c"an argument is outside its range or does not fit another one",
    ),
    (
        FLASHLLM_STATUS_ARCH_MISMATCH,
        c"FLASHLLM_STATUS_ARCH_MISMATCH",
        c"the device is older than the kernels of this library",
    ),
    (
        FLASHLLM_STATUS_EXECUTION_FAILED,
        c"FLASHLLM_STATUS_EXECUTION_FAILED",
        c"a kernel or a transfer failed on the device",
    ),
    (FLASHLLM_STATUS_INTERNAL_ERROR, c"FLASHLLM_STATUS_INTERNAL_ERROR", c"a defect of the library"),
    (
        FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED,
        c"FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED",
        c"the element type is not supported by the function",
    ),
    (
        FLASHLLM_STATUS_NOT_SUPPORTED,
        c"FLASHLLM_STATUS_NOT_SUPPORTED",
        c"the request is not supported by this release or build",
    ),
    (
        FLASHLLM_STATUS_INSUFFICIENT_RESOURCES,
        c"FLASHLLM_STATUS_INSUFFICIENT_RESOURCES",
        c"the problem needs more of a device resource than there is",
    ),
    (FLASHLLM_STATUS_NULL_POINTER, c"FLASHLLM_STATUS_NULL_POINTER", c"a required pointer is NULL"),
    (
        FLASHLLM_STATUS_WORKSPACE_TOO_SMALL,
        c"FLASHLLM_STATUS_WORKSPACE_TOO_SMALL",
        c"a buffer is smaller than its size query said",
    ),
    (
        FLASHLLM_STATUS_CORRUPT_DATA,
        c"FLASHLLM_STATUS_CORRUPT_DATA",
        c"a compressed buffer contradicts its format",
    ),
    (
        FLASHLLM_STATUS_MISALIGNED,
        c"FLASHLLM_STATUS_MISALIGNED",
        c"a pointer is not aligned as documented",
    ),
    (
        FLASHLLM_STATUS_NO_DEVICE,
        c"FLASHLLM_STATUS_NO_DEVICE",
        c"no NVIDIA driver or no CUDA device",
    ),
    (
        FLASHLLM_STATUS_DRIVER_ERROR,
        c"FLASHLLM_STATUS_DRIVER_ERROR",
        c"the CUDA driver refused a call",
    ),
    (
        FLASHLLM_STATUS_VERSION_MISMATCH,
        c"FLASHLLM_STATUS_VERSION_MISMATCH",
        c"the compressed buffer has a format version that is not read",
    ),
    (
        FLASHLLM_STATUS_SIZE_OVERFLOW,
        c"FLASHLLM_STATUS_SIZE_OVERFLOW",
        c"a size computed from the arguments does not fit its type",
    ),
    (
        FLASHLLM_STATUS_WRONG_CONTEXT,
        c"FLASHLLM_STATUS_WRONG_CONTEXT",
        c"a stream or buffer belongs to another CUDA context",
    ),
    (FLASHLLM_STATUS_IO_ERROR, c"FLASHLLM_STATUS_IO_ERROR", c"a file could not be read or written"),
];

/// The enumerator's name, or "unrecognized status".
pub fn name_of(status: RawStatus) -> &'static CStr {
    TEXTS.iter().find(|t| t.0 as c_int == status.0).map_or(c"unrecognized status", |t| t.1)
}

/// One sentence about the status, or "unrecognized status".
pub fn text_of(status: RawStatus) -> &'static CStr {
    TEXTS.iter().find(|t| t.0 as c_int == status.0).map_or(c"unrecognized status", |t| t.2)
}

impl From<Kind> for flashllmStatus_t {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::NotInitialized => FLASHLLM_STATUS_NOT_INITIALIZED,
            Kind::AllocFailed => FLASHLLM_STATUS_ALLOC_FAILED,
            Kind::InvalidValue => FLASHLLM_STATUS_INVALID_VALUE,
            Kind::ArchMismatch => FLASHLLM_STATUS_ARCH_MISMATCH,
            Kind::ExecutionFailed => FLASHLLM_STATUS_EXECUTION_FAILED,
            Kind::MatrixTypeNotSupported => FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED,
            Kind::NotSupported => FLASHLLM_STATUS_NOT_SUPPORTED,
            Kind::InsufficientResources => FLASHLLM_STATUS_INSUFFICIENT_RESOURCES,
            Kind::NullPointer => FLASHLLM_STATUS_NULL_POINTER,
            Kind::WorkspaceTooSmall => FLASHLLM_STATUS_WORKSPACE_TOO_SMALL,
            Kind::CorruptData => FLASHLLM_STATUS_CORRUPT_DATA,
            Kind::Misaligned => FLASHLLM_STATUS_MISALIGNED,
            Kind::NoDevice => FLASHLLM_STATUS_NO_DEVICE,
            Kind::DriverError => FLASHLLM_STATUS_DRIVER_ERROR,
            Kind::VersionMismatch => FLASHLLM_STATUS_VERSION_MISMATCH,
            Kind::SizeOverflow => FLASHLLM_STATUS_SIZE_OVERFLOW,
            Kind::WrongContext => FLASHLLM_STATUS_WRONG_CONTEXT,
            Kind::Io => FLASHLLM_STATUS_IO_ERROR,
            // The guard turns every panic into this kind, and a kind that is not listed is a defect too.
            _ => FLASHLLM_STATUS_INTERNAL_ERROR,
        }
    }
}

thread_local! {
    static LAST_MESSAGE: RefCell<Option<CString>> = const { RefCell::new(None) };
    static LAST_DRIVER: Cell<c_int> = const { Cell::new(0) };
}

/// Keeps the error's sentence, opened by the function's name, for the calling thread.
pub fn record(function: &str, error: &Error) -> flashllmStatus_t {
    let mut text = format!("{function}: {}", error.message());
    // A NUL inside would end the C string early.
    text.retain(|c| c != '\0');
    // During the teardown of a thread its locals may be gone: the status alone has to do then.
    let _ = LAST_MESSAGE.try_with(|m| *m.borrow_mut() = CString::new(text).ok());
    let _ = LAST_DRIVER.try_with(|d| d.set(error.driver_code().unwrap_or(0)));
    error.kind().into()
}

/// The calling thread's last sentence; valid until its next failing call.
pub fn last_message() -> *const c_char {
    LAST_MESSAGE
        .try_with(|m| m.borrow().as_ref().map(|s| s.as_ptr()))
        .ok()
        .flatten()
        .unwrap_or(c"no error".as_ptr())
}

/// The CUresult behind the calling thread's last failure, 0 when the driver was not its cause.
pub fn last_driver_code() -> c_int {
    LAST_DRIVER.try_with(Cell::get).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_own_name() {
        let mut names: Vec<_> = TEXTS.iter().map(|t| t.1).collect();
        for (status, name, text) in TEXTS {
            assert_eq!(format!("{status:?}"), name.to_str().unwrap());
            assert!(!text.to_bytes().is_empty());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TEXTS.len());
        assert_eq!(name_of(RawStatus(5)), c"unrecognized status");
        assert_eq!(text_of(RawStatus(-1)), c"unrecognized status");
    }

    #[test]
    fn record_keeps_sentence_and_driver_code_per_thread() {
        let e = Error::from_driver(Kind::DriverError, 912, "cu\0Launch refused");
        assert_eq!(record("f", &e), FLASHLLM_STATUS_DRIVER_ERROR);
        // SAFETY: last_message gives a NUL-terminated string that lives until the next failure here.
        let text = unsafe { CStr::from_ptr(last_message()) };
        assert_eq!(text.to_str().unwrap(), "f: cuLaunch refused");
        assert_eq!(last_driver_code(), 912);
        std::thread::spawn(|| {
            // SAFETY: as above.
            let text = unsafe { CStr::from_ptr(last_message()) };
            assert_eq!(text, c"no error");
            assert_eq!(last_driver_code(), 0);
        })
        .join()
        .unwrap();
        record("f", &Error::invalid("x"));
        assert_eq!(last_driver_code(), 0);
    }
}
