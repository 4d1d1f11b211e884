//! Devices to plan for, for the planner's unit tests, its golden plans and the benchmark's fit.

// Of the crate that this file is a module of, or of the one that it tests.
use super::DeviceProps;

/// Shared memory: what a block may opt in to, and an SM's.
pub fn device(name: &str, sm_count: u32, cc: (u32, u32), smem: (u32, u32)) -> DeviceProps {
    DeviceProps {
        sm_count,
        cc,
        smem_per_block_optin: smem.0,
        smem_per_sm: smem.1,
        l2_bytes: 50 << 20,
        name: name.into(),
    }
}

pub fn h100() -> DeviceProps {
    device("H100", 132, (9, 0), (232_448, 233_472))
}
