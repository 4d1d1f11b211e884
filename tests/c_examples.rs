//! The C examples: compiled as C99, C11 and C++11 with every warning an error, linked to the shared
//! and the static library, and run. Needs cc, c++ and make.
//!
//! It has a harness of its own because libtest cannot report a test as ignored after it has run: an
//! example that exits with 77 found no GPU, and is listed as ignored with its name, never as passed.

mod build_support;

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::time::Instant;

use build_support::{compiler, link_libraries, make_examples, root, run, scratch};

enum Outcome {
    Passed,
    Ignored(String),
}

type Test = (String, Box<dyn Fn() -> Outcome>);

const PROGRAMS: [&str; 10] = [
    "01_version",
    "02_host_compress",
    "03_spmm",
    "04_graph_capture",
    "05_plan_bias_relu",
    "06_runtime_interop",
    "07_save_load",
    "08_tensor_parallel",
    "09_gpu_compress",
    "demo",
];

fn main() -> ExitCode {
    // A name to filter by is all that is understood of libtest's arguments.
    let filter = env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let (mut passed, mut failed, mut ignored, mut filtered) = (0, Vec::new(), 0, 0);
    let started = Instant::now();
    for (name, test) in tests() {
        if filter.as_ref().is_some_and(|filter| !name.contains(filter)) {
            filtered += 1;
            continue;
        }
        match catch_unwind(AssertUnwindSafe(test)) {
            Ok(Outcome::Passed) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Ok(Outcome::Ignored(reason)) => {
                ignored += 1;
                println!("test {name} ... ignored, {reason}");
            }
            Err(_) => {
                println!("test {name} ... FAILED");
                failed.push(name);
            }
        }
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {} failed; {ignored} ignored; 0 measured; {filtered} filtered out; \
         finished in {:.2}s\n",
        failed.len(),
        started.elapsed().as_secs_f64()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    let mut add = |name: String, test: Box<dyn Fn() -> Outcome>| tests.push((name, test));
    let library = scratch("examples-lib");
    link_libraries(&library);
    let builds = [("c99", "shared"), ("c11", "shared"), ("c11", "static"), ("c++11", "shared")];
    for (standard, linking) in builds {
        let dir = scratch(&format!("examples-{}-{linking}", standard.replace('+', "x")));
        let (lib, build) = (library.clone(), dir.clone());
        add(
            format!("examples_build_without_warnings_as_{standard}_{linking}"),
            Box::new(move || {
                if standard == "c++11" {
                    build_as_cxx(&lib, &build);
                } else {
                    build_with_make(&lib, &build, standard, linking == "static");
                }
                Outcome::Passed
            }),
        );
        let programs: [(&str, &[&str]); 14] = [
            ("01_version", &[]),
            ("02_host_compress", &[]),
            ("03_spmm", &["--device", "host"]),
            ("03_spmm", &["--device", "cuda"]),
            ("04_graph_capture", &[]),
            ("05_plan_bias_relu", &["--device", "host"]),
            ("05_plan_bias_relu", &["--device", "cuda"]),
            ("06_runtime_interop", &[]),
            ("07_save_load", &["--device", "host"]),
            ("07_save_load", &["--device", "cuda"]),
            ("08_tensor_parallel", &["--device", "host"]),
            ("08_tensor_parallel", &["--device", "cuda"]),
            ("09_gpu_compress", &["--device", "host"]),
            ("09_gpu_compress", &["--device", "cuda"]),
        ];
        for (program, arguments) in programs {
            let needs_gpu = ["04_graph_capture", "06_runtime_interop"].contains(&program)
                || arguments.contains(&"cuda");
            let (lib, path) = (library.clone(), dir.join(program));
            let device = if arguments.is_empty() { "" } else { arguments[1] };
            add(
                format!(
                    "example_{program}{}{device}_runs_as_{standard}_{linking}",
                    if device.is_empty() { "" } else { "_" }
                ),
                Box::new(move || {
                    let mut command = Command::new(&path);
                    // Where an example writes a file.
                    command.current_dir(path.parent().expect("a program lies in a folder"));
                    let output = execute(command.args(arguments), &lib);
                    match output.status.code() {
                        Some(0) => Outcome::Passed,
                        Some(77) if needs_gpu => {
                            Outcome::Ignored(format!("{program} found no GPU to run on"))
                        }
                        _ => panic!("{}", show(&path, &output)),
                    }
                }),
            );
        }
        let lib = library.clone();
        add(
            format!("demo_agrees_with_its_dense_product_as_{standard}_{linking}"),
            Box::new(move || {
                demo_passes(&dir.join("demo"), &lib);
                Outcome::Passed
            }),
        );
    }
    let sanitized = scratch("examples-sanitized");
    let (lib, dir) = (library.clone(), sanitized.clone());
    add(
        "demo_refuses_hostile_files_with_a_sentence".into(),
        Box::new(move || {
            build_sanitized(&lib, &dir);
            hostile_files_are_refused(&dir, &lib);
            Outcome::Passed
        }),
    );
    add(
        "demo_survives_damaged_headers".into(),
        Box::new(move || {
            build_sanitized(&library, &sanitized);
            damaged_headers_are_survived(&sanitized, &library);
            Outcome::Passed
        }),
    );
    tests
}

fn build_with_make(library: &Path, dir: &Path, standard: &str, is_static: bool) {
    let mut make = make_examples(library, dir);
    make.arg("c").arg(format!("STD={standard}"));
    if is_static {
        make.arg("STATIC=1");
    }
    run(&mut make);
    if is_static {
        let needed = run(Command::new("ldd").arg(dir.join("01_version")));
        assert!(
            !needed.contains("flash_llm"),
            "a static example needs the shared library:\n{needed}"
        );
    }
}

fn build_as_cxx(library: &Path, dir: &Path) {
    for program in PROGRAMS {
        let source = root().join("c-examples");
        let mut command = compiler("c++11");
        command.args(["-O2", "-x", "c++", "-I"]).arg(root().join("include"));
        command.arg(source.join(format!("{program}.c")));
        if program == "demo" {
            command.arg(source.join("safetensors.c"));
        }
        command.args(["-x", "none", "-o"]).arg(dir.join(program));
        command.arg("-L").arg(library).args(["-lflash_llm", "-ldl", "-lm"]);
        run(&mut command);
    }
}

fn build_sanitized(library: &Path, dir: &Path) {
    let flags = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all";
    run(make_examples(library, dir).arg(format!("CFLAGS={flags}")).arg(dir.join("demo")));
}

fn execute(command: &mut Command, library: &Path) -> Output {
    command.env("LD_LIBRARY_PATH", library);
    command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"))
}

fn show(what: &Path, output: &Output) -> String {
    format!(
        "{}: {}\n{}{}",
        what.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A file of a header and data.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// Weights in each type the demo reads, and tensors that it leaves out.
fn good_file() -> Vec<u8> {
    let mut state = 1u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0 - 0.5
    };
    let mut data = Vec::new();
    let mut entries =
        vec![r#""__metadata__": {"format": "pt", "nested": [1, {"a": null}, "\"}"]}"#.to_owned()];
    let tensors = [
        ("first.weight", "F32", vec![40, 50]),
        ("second.weight", "F16", vec![33, 129]),
        ("third.weight", "BF16", vec![130, 70]),
        ("bias", "F32", vec![40]),
        ("ids", "I64", vec![2, 3]),
        ("one.by.one", "F32", vec![1, 1]),
        ("empty", "F32", vec![0, 7]),
    ];
    for (name, dtype, shape) in tensors {
        let begin = data.len();
        for _ in 0..shape.iter().product::<usize>() {
            let value = uniform();
            match dtype {
                "F32" => data.extend(value.to_le_bytes()),
                "F16" => data.extend(half::f16::from_f32(value).to_le_bytes()),
                "BF16" => data.extend(half::bf16::from_f32(value).to_le_bytes()),
                _ => data.extend([0; 8]),
            }
        }
        entries.push(format!(
            r#""{name}": {{"dtype": "{dtype}", "shape": {shape:?}, "data_offsets": [{begin}, {}]}}"#,
            data.len()
        ));
    }
    safetensors(&format!("{{{}}}  ", entries.join(", ")), &data)
}

fn demo_passes(demo: &Path, library: &Path) {
    let dir = demo.parent().expect("the demo lies in a folder");
    let file = dir.join("good.safetensors");
    fs::write(&file, good_file()).expect("a scratch file can be written");
    let mut command = Command::new(demo);
    command
        .args(["--device", "host", "--sparsity", "0,50,80,100", "--tokens", "5", "--all-rows"])
        .arg(&file);
    let output = execute(&mut command, library);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}", show(demo, &output));
    for needed in [
        "4 weight matrices (3 other tensors left out)",
        "first.weight",
        "33x129",
        "third.weight",
        "auto: bitmap",
        "auto: slots",
        "tiled-csl",
        "demo: PASS: 96 products (4 matrices, 4 sparsities, 6 formats) on the host, 0 wrong",
    ] {
        assert!(text.contains(needed), "'{needed}' is not in the demo's output:\n{text}");
    }
}

fn hostile_files_are_refused(dir: &Path, library: &Path) {
    let tensor = |body: &str| safetensors(&format!(r#"{{"w": {{{body}}}}}"#), &[0; 64]);
    let f32_with = |shape: &str, offsets: &str| {
        tensor(&format!(r#""dtype": "F32", "shape": {shape}, "data_offsets": {offsets}"#))
    };
    let mut lying_length = safetensors("{}", &[]);
    lying_length[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut infinite =
        safetensors(r#"{"w":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}"#, &[]);
    infinite.extend(f32::INFINITY.to_le_bytes());
    let deep = safetensors(&format!(r#"{{"__metadata__": {}"#, "[".repeat(100_000)), &[]);
    let files: Vec<(&str, Vec<u8>, &str)> = vec![
        ("an empty file", vec![], "at least 8"),
        ("seven bytes", vec![0; 7], "at least 8"),
        ("a length beyond the file", lying_length, "its header claims"),
        ("an empty header", safetensors("", &[]), "not a JSON object"),
        ("no JSON", safetensors("hello", &[]), "not a JSON object"),
        ("a header that ends early", safetensors(r#"{"w": {"dtype": "F32""#, &[]), "was expected"),
        ("a string that does not end", safetensors(r#"{"w"#, &[]), "does not end"),
        ("a string that ends in a backslash", safetensors("{\"w\\", &[]), "does not end"),
        ("a NUL in a string", safetensors("{\"w\0\": {}}", &[]), "control character"),
        ("a hundred thousand brackets", deep, "nested too deeply"),
        (
            "no shape",
            tensor(r#""dtype": "F32", "data_offsets": [0, 64]"#),
            "lacks dtype, shape or data_offsets",
        ),
        ("an empty tensor object", tensor(""), "lacks dtype, shape or data_offsets"),
        ("one offset", f32_with("[4, 4]", "[0]"), "lacks dtype, shape or data_offsets"),
        ("three offsets", f32_with("[4, 4]", "[0, 32, 64]"), "too long"),
        ("offsets beyond the file", f32_with("[4, 4]", "[8, 72]"), "outside the 64 data bytes"),
        (
            "offsets that wrap",
            f32_with("[4, 4]", "[18446744073709551600, 48]"),
            "outside the 64 data bytes",
        ),
        ("offsets in the wrong order", f32_with("[4, 4]", "[64, 0]"), "outside the 64 data bytes"),
        (
            "a shape that needs more bytes",
            f32_with("[4, 5]", "[0, 64]"),
            "its shape needs 80 bytes",
        ),
        ("a shape that overflows", f32_with("[4294967296, 4294967296, 4]", "[0, 64]"), "overflows"),
        (
            "a dimension of 65 bits",
            f32_with("[18446744073709551616, 1]", "[0, 64]"),
            "does not fit 64 bits",
        ),
        ("a negative dimension", f32_with("[-4, -4]", "[0, 64]"), "non-negative integer"),
        ("a fraction", f32_with("[4.0, 4]", "[0, 64]"), "']' was expected"),
        ("nine dimensions", f32_with("[1,1,1,1,1,1,1,1,16]", "[0, 64]"), "too long"),
        ("something after the header", safetensors("{} {}", &[]), "follows"),
        ("no weights", safetensors("{}", &[]), "holds no 2-D floating point weights"),
        ("weights that fp16 cannot hold", infinite, "fp16 cannot hold"),
    ];
    let demo = dir.join("demo");
    let refused = |what: &str, file: &Path, sentence: &str| {
        let output = execute(
            Command::new(&demo)
                .args(["--device", "host"])
                .arg(file)
                .env("ASAN_OPTIONS", "detect_leaks=0"),
            library,
        );
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{what}: {}", show(&demo, &output));
        assert!(errors.contains(sentence), "{what}: '{sentence}' is not in:\n{errors}");
    };
    for (index, (what, bytes, sentence)) in files.iter().enumerate() {
        let file = dir.join(format!("hostile-{index}.safetensors"));
        fs::write(&file, bytes).expect("a scratch file can be written");
        refused(what, &file, sentence);
    }
    refused(
        "a file that is not there",
        Path::new("/nonexistent/x.safetensors"),
        "cannot be opened",
    );
    refused("a folder", dir, "is not a safetensors file");
}

/// Single bytes of a good header changed: the demo reads the file or refuses it, and no sanitizer speaks.
fn damaged_headers_are_survived(dir: &Path, library: &Path) {
    let good = good_file();
    let header = u64::from_le_bytes(good[..8].try_into().expect("eight bytes")) as usize;
    let mut state = 7u64;
    for round in 0..150 {
        let mut bytes = good.clone();
        for _ in 0..1 + round % 3 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % (8 + header);
            // Half of the changes stay within what JSON is made of.
            let alphabet = br#"{}[]",:0123456789 F\"#;
            let raw = (state >> 20) as u8;
            bytes[at] =
                if round % 2 == 0 { alphabet[usize::from(raw) % alphabet.len()] } else { raw };
        }
        let file = dir.join("damaged.safetensors");
        fs::write(&file, &bytes).expect("a scratch file can be written");
        let demo = dir.join("demo");
        let mut command = Command::new(&demo);
        command.args(["--device", "host", "--sparsity", "80", "--tokens", "1"]).arg(&file);
        let output = execute(command.env("ASAN_OPTIONS", "detect_leaks=0"), library);
        assert!(
            matches!(output.status.code(), Some(0 | 2)),
            "round {round}: {}\nkept as {}",
            show(&demo, &output),
            file.display()
        );
    }
}
