//! Compressed matrices outside of the process: a file of one matrix, and .safetensors files of whole models.
//!
//! Everything here works on bytes and files and knows of no device: what comes from a device is handed over
//! in pieces, so that no model is in memory twice. Bytes that are read are hostile until they are checked.
//! The byte specification is docs/format-store.md.
#![forbid(unsafe_code)]

pub mod file;
pub mod matrix;
pub mod safetensors;

pub use file::AtomicFile;

use crate::error::{Error, Kind};

/// Alignment of sections in files, which is that of compressed buffers.
pub(crate) const ALIGN: usize = crate::format::header::ALIGN as usize;

/// `what` could not be done with `path`.
pub(crate) fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Error {
    Error::new(Kind::Io, format!("{what} {}: {error}", path.display()))
}

pub(crate) fn corrupt(message: impl Into<String>) -> Error {
    Error::new(Kind::CorruptData, message)
}
