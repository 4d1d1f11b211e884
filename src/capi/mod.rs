//! The C ABI: the only place where C's pointers and spellings exist.
//!
//! The boundary's contract:
//! - Every body runs inside [`guard::guard`]: an error or a panic becomes a status and a sentence.
//! - Checks come in one order: handle, descriptors, enums and operations, host scalars, out-parameters,
//!   element types and shapes, buffers. The first failure wins.
//! - Out-parameters are written on success only, except that Create functions set `*out = NULL` first.
//! - Handles and descriptors are keys ([`object`]); nothing dereferences them.
//! - Enums come in as integers ([`types`]) and are checked.
//! - Nothing that this library allocates crosses the boundary but those keys, static strings, the texts and
//!   shapes of an open file, and the memory of flashllmMalloc.
//!
//! build.rs generates include/flash_llm.h from status, types, context, memory, matrix, convert, csr, prune,
//! spmm, plan, batch, store, safetensors and logger, in that order; the documentation comments on exported items
//! are the header's and speak C.
//! Functions written by a macro would be missing from the header, so there are none.
#![allow(non_camel_case_types, non_snake_case)]
// The C documentation states each contract with @param and @note; a Rust section would end in the header.
#![allow(clippy::missing_safety_doc)]

pub mod batch;
pub mod context;
pub mod convert;
pub mod csr;
pub mod guard;
pub mod logger;
pub mod matrix;
pub mod memory;
pub mod object;
pub mod plan;
pub mod prune;
pub mod safetensors;
pub mod spmm;
pub mod status;
pub mod store;
pub mod types;
