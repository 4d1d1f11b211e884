//! Stand-in until the planner lands.

/// Facts about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceProps {
    /// Streaming multiprocessors.
    pub sm_count: u32,
    /// Compute capability.
    pub cc: (u32, u32),
    /// Shared memory that a block may opt in to, bytes.
    pub smem_per_block_optin: u32,
    /// Shared memory of an SM, bytes.
    pub smem_per_sm: u32,
    /// L2 cache, bytes.
    pub l2_bytes: u64,
    /// Name.
    pub name: String,
}
