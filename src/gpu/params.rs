//! Stand-in until the kernels land.
