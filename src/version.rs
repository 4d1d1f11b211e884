//! Version numbers and the description of this build.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};
use std::sync::OnceLock;

const fn number(text: &str) -> i32 {
    let bytes = text.as_bytes();
    let mut value = 0;
    let mut i = 0;
    while i < bytes.len() {
        assert!(bytes[i].is_ascii_digit(), "a version component is a decimal number");
        value = value * 10 + (bytes[i] - b'0') as i32;
        i += 1;
    }
    value
}

/// Major version.
pub const MAJOR: i32 = number(env!("CARGO_PKG_VERSION_MAJOR"));
/// Minor version.
pub const MINOR: i32 = number(env!("CARGO_PKG_VERSION_MINOR"));
/// Patch level.
pub const PATCH: i32 = number(env!("CARGO_PKG_VERSION_PATCH"));
/// major * 10000 + minor * 100 + patch, as the header's FLASHLLM_VERSION.
pub const VERSION: i32 = MAJOR * 10000 + MINOR * 100 + PATCH;

const _: () = assert!(MINOR < 100 && PATCH < 100, "components must not run into each other");

/// One line: version, profile, and what the kernels were compiled with. build.rs may set the variables.
pub fn build_info() -> &'static CStr {
    static TEXT: OnceLock<CString> = OnceLock::new();
    TEXT.get_or_init(|| {
        let kernels = if cfg!(no_kernels) {
            "without GPU kernels".to_owned()
        } else {
            format!(
                "GPU kernels for {} by {}",
                option_env!("FLASHLLM_BUILD_ARCHS").unwrap_or("unrecorded architectures"),
                option_env!("FLASHLLM_BUILD_NVCC").unwrap_or("an unrecorded nvcc")
            )
        };
        let revision =
            option_env!("FLASHLLM_BUILD_REVISION").map_or(String::new(), |r| format!(" ({r})"));
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        let text =
            format!("flash_llm {}{revision}, {profile}, {kernels}", env!("CARGO_PKG_VERSION"));
        CString::new(text.replace('\0', "")).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_cargos() {
        assert_eq!(format!("{MAJOR}.{MINOR}.{PATCH}"), env!("CARGO_PKG_VERSION"));
        assert!(build_info().to_str().unwrap().starts_with("flash_llm "));
    }
}
