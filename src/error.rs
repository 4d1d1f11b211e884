//! The one error type of the library. It knows nothing of C: `capi::status` maps [`Kind`] to numbers.

/// What went wrong, by the class a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A handle was NULL, stale or of another kind.
    NotInitialized,
    /// Memory could not be allocated.
    AllocFailed,
    /// An argument is outside its documented range or does not fit another one.
    InvalidValue,
    /// The device cannot run any kernel of this library.
    ArchMismatch,
    /// A launch or a transfer failed on the device.
    ExecutionFailed,
    /// A defect of this library.
    InternalError,
    /// The element type or format is not supported by the function.
    MatrixTypeNotSupported,
    /// The request is well formed but not supported.
    NotSupported,
    /// The problem needs more of a device resource than there is.
    InsufficientResources,
    /// A required pointer is NULL.
    NullPointer,
    /// A buffer is smaller than its size query said.
    WorkspaceTooSmall,
    /// A compressed buffer contradicts its format.
    CorruptData,
    /// A pointer is not aligned as documented.
    Misaligned,
    /// There is no driver or no device.
    NoDevice,
    /// The driver refused; the CUresult is kept.
    DriverError,
    /// The buffer has a format version this library does not read.
    VersionMismatch,
    /// A size does not fit its type.
    SizeOverflow,
    /// The stream or memory belongs to another context.
    WrongContext,
    /// A file could not be read or written; the operating system's reason is in the sentence.
    Io,
}

/// A [`Kind`] and the sentence that names the argument, its value and what was needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
    driver: Option<i32>,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind` described by `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), driver: None }
    }

    /// An error that carries the driver's own result code.
    pub fn from_driver(kind: Kind, code: i32, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), driver: Some(code) }
    }

    /// Shorthand for the most common kind.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidValue, message)
    }

    /// The class of the error.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The CUresult behind the error, when the driver was the cause.
    pub fn driver_code(&self) -> Option<i32> {
        self.driver
    }
}
