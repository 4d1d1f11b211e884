//! include/flash_llm.h is what src/capi says, and every C and C++ compiler setting takes it.

mod build_support;

use build_support::{assert_golden, root, run, scratch};
use std::fs;
use std::process::Command;

const STANDARDS: [&str; 7] = ["c99", "c11", "c17", "c++11", "c++14", "c++17", "c++20"];

fn compiler(standard: &str) -> Command {
    let mut command = build_support::compiler(standard);
    command.arg("-I").arg(root().join("include"));
    command
}

fn extension(standard: &str) -> &'static str {
    if standard.contains("++") { "cpp" } else { "c" }
}

#[test]
fn committed_header_is_the_generated_one() {
    let generated = fs::read_to_string(env!("FLASHLLM_GENERATED_HEADER"))
        .expect("build.rs generates the header from src/capi");
    assert_golden(&root().join("include/flash_llm.h"), &generated, "the generated header");
}

#[test]
fn header_compiles_alone_and_twice_in_every_standard() {
    let dir = scratch("header_alone");
    for standard in STANDARDS {
        let source = dir.join(format!("alone.{}", extension(standard)));
        fs::write(&source, "#include \"flash_llm.h\"\n#include \"flash_llm.h\"\n").unwrap();
        run(compiler(standard).arg("-c").arg(&source).arg("-o").arg(dir.join("alone.o")));
    }
}

#[test]
fn header_may_be_included_in_two_units_of_one_program() {
    let dir = scratch("header_two_units");
    for standard in ["c99", "c11", "c++11"] {
        let (a, b) = (
            dir.join(format!("a.{}", extension(standard))),
            dir.join(format!("b.{}", extension(standard))),
        );
        fs::write(
            &a,
            "#include \"flash_llm.h\"\nint other(void);\nint main(void) { return other(); }\n",
        )
        .unwrap();
        fs::write(&b, "#include \"flash_llm.h\"\nint other(void);\nint other(void) { return FLASHLLM_STATUS_SUCCESS; }\n")
            .unwrap();
        let program = dir.join("two_units");
        run(compiler(standard).arg(&a).arg(&b).arg("-o").arg(&program));
        run(&mut Command::new(&program));
    }
}

#[test]
fn streams_of_the_driver_and_runtime_api_need_no_cast() {
    // As <cuda.h> and <cuda_runtime.h> declare them.
    let text = "#include \"flash_llm.h\"\n\
        typedef struct CUstream_st *CUstream;\n\
        typedef struct CUstream_st *cudaStream_t;\n\
        flashllmStream_t from_driver(CUstream s);\n\
        flashllmStream_t from_driver(CUstream s) { return s; }\n\
        flashllmStream_t from_runtime(cudaStream_t s);\n\
        flashllmStream_t from_runtime(cudaStream_t s) { return s; }\n";
    let dir = scratch("header_streams");
    for standard in ["c99", "c++11"] {
        let source = dir.join(format!("streams.{}", extension(standard)));
        fs::write(&source, text).unwrap();
        run(compiler(standard).arg("-c").arg(&source).arg("-o").arg(dir.join("streams.o")));
    }
}

#[test]
fn version_macros_are_those_of_cargo_toml() {
    let part = |text: &str| text.parse::<u32>().expect("cargo's version parts are numbers");
    let (major, minor, patch) = (
        part(env!("CARGO_PKG_VERSION_MAJOR")),
        part(env!("CARGO_PKG_VERSION_MINOR")),
        part(env!("CARGO_PKG_VERSION_PATCH")),
    );
    let text = format!(
        "#include \"flash_llm.h\"\n\
         #if FLASHLLM_VERSION_MAJOR != {major} || FLASHLLM_VERSION_MINOR != {minor} || FLASHLLM_VERSION_PATCH != {patch}\n\
         #error parts\n#endif\n\
         #if FLASHLLM_VERSION != {}\n#error number\n#endif\n\
         typedef int unit_is_not_empty;\n",
        major * 10_000 + minor * 100 + patch
    );
    let source = scratch("header_version").join("version.c");
    fs::write(&source, text).unwrap();
    run(compiler("c99").arg("-fsyntax-only").arg(&source));
}
