//! flash_llm: compressed storage for pruned LLM weights and Tensor Core SpMM on them.
//!
//! The product is the C ABI of [`capi`]; the Rust modules below it are documented for contributors.
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

pub mod capi;
pub mod descr;
pub mod error;
pub mod format;
pub mod gpu;
pub mod handle;
pub mod host;
pub mod log;
pub mod plan;
pub mod pool;
pub mod reference;
pub mod store;
pub mod types;
pub mod version;
