//! What ptxas says of the kernels: none spills, none uses local memory.

use std::fs;
use std::path::Path;

/// Written by build.rs beside the generated header.
fn resources() -> String {
    let file = Path::new(env!("FLASHLLM_GENERATED_HEADER")).with_file_name("resources.txt");
    fs::read_to_string(file).expect("build.rs writes resources.txt")
}

#[test]
#[cfg_attr(no_kernels, ignore = "the kernels were not compiled: no nvcc")]
fn no_kernel_spills_or_uses_local_memory() {
    let resources = resources();
    let mut kernels = 0;
    let mut guilty = Vec::new();
    for line in resources.lines().filter(|l| !l.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, _, _, _, _, stack, stores, loads] = fields[..] else {
            panic!("unreadable line: {line}")
        };
        kernels += 1;
        if [stack, stores, loads] != ["0"; 3] {
            guilty.push(line);
        }
    }
    println!("{resources}");
    assert!(kernels > 0, "ptxas named no kernel");
    assert!(
        guilty.is_empty(),
        "file arch entry registers smem stack stores loads:\n{}",
        guilty.join("\n")
    );
}

#[test]
#[cfg_attr(no_kernels, ignore = "the kernels were not compiled: no nvcc")]
fn every_kernel_symbol_has_the_prefix() {
    for line in resources().lines().filter(|l| !l.starts_with('#')) {
        let entry = line.split(' ').nth(2).unwrap_or_default();
        assert!(
            entry.starts_with("fl_"),
            "{entry} does not begin with fl_ (extern \"C\" missing?)"
        );
    }
}
