//! Compressed matrix formats: specification, CPU encode, decode and validate.
//!
//! A compressed matrix is one contiguous buffer that describes itself (header, table, data). The GPU
//! never sees a buffer that [`validate`] has not accepted or that this library has not written.
#![forbid(unsafe_code)]

pub mod header;

pub use header::Header;

use crate::error::Result;
use crate::types::{DenseLayout, Format};

/// What the encoder may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// `None` lets the library choose (FORMAT_AUTO).
    pub format: Option<Format>,
    /// Tiled-CSL: order items so that the 32 lanes of a store hit different banks.
    pub reorder: bool,
    /// AUTO: prefer fewer bytes to speed.
    pub prefer_footprint: bool,
}

/// Result of [`analyse`]: everything [`encode`] needs, and the exact size of the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analysis {
    /// The header that encode will write.
    pub header: Header,
    /// The offset table that encode will write.
    pub table: Vec<u32>,
}

impl Analysis {
    /// Bytes of the compressed buffer.
    pub fn bytes(&self) -> usize {
        self.header.total_bytes as usize
    }
}

/// First pass over dense fp16 bits: chooses the format, counts, sizes every block.
pub fn analyse(layout: &DenseLayout, values: &[u16], options: &EncodeOptions) -> Result<Analysis> {
    todo!()
}

/// Second pass: writes the whole buffer (`out.len() >= analysis.bytes()`), deterministic bytes.
pub fn encode(analysis: &Analysis, layout: &DenseLayout, values: &[u16], out: &mut [u8]) -> Result<()> {
    todo!()
}

/// Reads the header and checks it against the buffer's length; does not walk the data.
pub fn parse_header(buffer: &[u8]) -> Result<Header> {
    todo!()
}

/// Full check: every byte of the buffer is consistent with the specification.
pub fn validate(buffer: &[u8]) -> Result<Header> {
    todo!()
}

/// Writes every element of the dense matrix (zeros too); elements outside it (ld padding) stay.
pub fn decode(buffer: &[u8], layout: &DenseLayout, out: &mut [u16]) -> Result<()> {
    todo!()
}
