//! Stand-in until the kernels land.

/// A kernel.
#[repr(usize)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelId {
    /// Stand-in.
    Standin,
}

impl KernelId {
    /// All kernels.
    pub const ALL: &'static [KernelId] = &[KernelId::Standin];
    /// File stem of the source.
    pub fn image(self) -> &'static str {
        "standin"
    }
    /// Symbol.
    pub fn symbol(self) -> &'static str {
        "fl_standin"
    }
    /// Oldest compute capability.
    pub fn min_cc(self) -> (u32, u32) {
        (8, 0)
    }
    /// Dynamic shared memory to opt in to.
    pub fn max_dynamic_smem(self) -> u32 {
        65536
    }
}
