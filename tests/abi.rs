//! What the dynamic linker and C callers see of the library: symbols, SONAME, needs, numbers.

mod build_support;

use build_support::{assert_golden, build_dir, compiler, root, run, soname};
use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, FileHeader64};
use object::read::elf::{Dyn, FileHeader};
use object::{Endianness, Object, ObjectSymbol};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn library() -> Vec<u8> {
    fs::read(build_dir().join("libflash_llm.so")).expect("the shared library can be read")
}

/// Values of one tag of the dynamic section.
fn dynamic_strings(data: &[u8], wanted: u32) -> Vec<String> {
    let header = FileHeader64::<Endianness>::parse(data).expect("an ELF file");
    let endian = header.endian().expect("its byte order");
    let sections = header.sections(endian, data).expect("its sections");
    let (entries, strings) = sections
        .dynamic(endian, data)
        .expect("a readable dynamic section")
        .expect("a dynamic section");
    let strings = sections.strings(endian, data, strings).expect("its string table");
    entries
        .iter()
        .filter(|entry| entry.tag32(endian) == Some(wanted))
        .map(|entry| entry.string(endian, strings).expect("a string"))
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .collect()
}

fn exported_symbols() -> BTreeSet<String> {
    let data = library();
    let file = object::File::parse(&*data).expect("an object file");
    file.dynamic_symbols()
        .filter(ObjectSymbol::is_definition)
        .map(|symbol| symbol.name().expect("a name").to_owned())
        .collect()
}

#[test]
fn exported_symbols_are_the_committed_list() {
    let list: String = exported_symbols().into_iter().map(|name| name + "\n").collect();
    assert_golden(&root().join("tests/abi/symbols.txt"), &list, "the list of exported symbols");
}

#[test]
fn every_exported_symbol_is_ours_and_in_the_header() {
    let header =
        fs::read_to_string(env!("FLASHLLM_GENERATED_HEADER")).expect("build.rs generates it");
    for name in exported_symbols() {
        assert!(
            name.strip_prefix("flashllm").is_some_and(|rest| rest.starts_with(char::is_uppercase)),
            "{name} is exported but is not a flashllm function"
        );
        assert!(header.contains(&format!("{name}(")), "{name} is exported but the header lacks it");
    }
}

#[test]
fn every_function_of_the_header_is_exported() {
    let header =
        fs::read_to_string(env!("FLASHLLM_GENERATED_HEADER")).expect("build.rs generates it");
    let exported = exported_symbols();
    // A declaration, unlike a mention in a comment, stands outside a line of documentation.
    for line in header.lines().filter(|line| !line.trim_start().starts_with(['*', '/', '#'])) {
        for (at, _) in line.match_indices("flashllm") {
            let name: String =
                line[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if line[at + name.len()..].starts_with('(') {
                assert!(
                    exported.contains(&name),
                    "the header declares {name}, which is not exported"
                );
            }
        }
    }
}

#[test]
fn soname_has_the_abi_version() {
    assert_eq!(dynamic_strings(&library(), DT_SONAME), [soname()]);
}

#[test]
fn library_needs_only_the_c_runtime() {
    // Above all not libcuda.so.1: the library has to load where there is no driver.
    const ALLOWED: [&str; 6] = [
        "libgcc_s.so.1",
        "libc.so.6",
        "libm.so.6",
        "libdl.so.2",
        "libpthread.so.0",
        "ld-linux-x86-64.so.2",
    ];
    let data = library();
    for needed in dynamic_strings(&data, DT_NEEDED) {
        assert!(ALLOWED.contains(&needed.as_str()), "libflash_llm.so needs {needed}");
    }
    assert!(dynamic_strings(&data, DT_RPATH).is_empty(), "libflash_llm.so has an RPATH");
    assert!(dynamic_strings(&data, DT_RUNPATH).is_empty(), "libflash_llm.so has a RUNPATH");
}

#[test]
fn enumerators_and_handles_have_their_committed_numbers_and_sizes() {
    let header = Path::new(env!("FLASHLLM_GENERATED_HEADER"));
    let mut check = compiler("c11");
    check.arg("-I").arg(header.parent().expect("a folder")).arg("-fsyntax-only");
    run(check.arg(root().join("tests/abi/layout.c")));
}

#[test]
fn layout_c_asserts_every_enumerator_of_the_header() {
    let header =
        fs::read_to_string(env!("FLASHLLM_GENERATED_HEADER")).expect("build.rs generates it");
    let layout = fs::read_to_string(root().join("tests/abi/layout.c")).expect("it is committed");
    for line in header.lines() {
        let Some((name, _)) = line.trim().split_once(" = ") else { continue };
        if name.starts_with("FLASHLLM_")
            && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        {
            assert!(layout.contains(&format!("VALUE({name}, ")), "tests/abi/layout.c lacks {name}");
        }
    }
}

#[test]
fn shim_has_the_functions_of_its_list() {
    let list = fs::read_to_string(root().join("shim/symbols.txt")).expect("it is committed");
    let listed: Vec<&str> = list
        .lines()
        .map(|l| l.split('#').next().unwrap_or("").trim())
        .filter(|l| !l.is_empty())
        .collect();
    let generated = fs::read_to_string(root().join("shim/cuda_shim.inc")).expect("it is committed");
    let defined: Vec<&str> =
        generated.lines().filter_map(|line| line.strip_prefix("F(")?.split(',').next()).collect();
    assert_eq!(listed, defined, "run shim/gen_shim.py");
}
