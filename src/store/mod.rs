//! Compressed matrices outside of the process: a file of one matrix, and .safetensors files of whole models.
//!
//! Everything here works on bytes and files and knows of no device: what comes from a device is handed over
//! in pieces, so that no model is in memory twice. Bytes that are read are hostile until they are checked.
//! The byte specification is docs/format-store.md.
#![forbid(unsafe_code)]

pub mod file;
pub mod matrix;
pub mod safetensors;
pub mod xxh3;

pub use file::AtomicFile;

use std::ops::Range;

use crate::error::{Error, Kind, Result};

/// Alignment of sections in files, which is that of compressed buffers.
pub(crate) const ALIGN: usize = crate::format::header::ALIGN as usize;

/// `what` could not be done with `path`.
pub(crate) fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Error {
    Error::new(Kind::Io, format!("{what} {}: {error}", path.display()))
}

pub(crate) fn corrupt(message: impl Into<String>) -> Error {
    Error::new(Kind::CorruptData, message)
}

/// A checksum over bytes that are verified while they are copied.
#[derive(Debug)]
pub struct Unverified<'a> {
    /// What it is of.
    name: String,
    /// All bytes that it is of.
    bytes: &'a [u8],
    /// Those of the compressed buffer among them, which come first.
    pub part: Range<usize>,
    xxh3: u64,
}

impl<'a> Unverified<'a> {
    /// A hash that [`Unverified::check`] takes when the part has been copied with it.
    pub fn hash(&self) -> xxh3::Hash {
        xxh3::Hash::new(self.bytes.len())
    }

    /// Refuses other bytes than those that were stored.
    pub fn check(&self, hash: xxh3::Hash) -> Result<()> {
        let xxh3 = hash.finish(self.bytes);
        if xxh3 == self.xxh3 {
            return Ok(());
        }
        Err(corrupt(format!("{} = {:016x}, its bytes have {xxh3:016x}", self.name, self.xxh3)))
    }
}

/// A stored matrix whose header, table and padding were checked.
#[derive(Debug)]
pub struct Found<'a> {
    /// The header of the compressed buffer.
    pub header: crate::format::Header,
    /// The compressed buffer.
    pub content: &'a [u8],
    /// What was not verified yet.
    pub unverified: Option<Unverified<'a>>,
}
