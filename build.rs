//! Builds what rustc cannot: the libcuda shim, the CUDA kernels and the C header.
//!
//! Everything is written to `OUT_DIR`; the source tree is never touched.
//!
//! | output | used by |
//! |---|---|
//! | `libflashllm_cuda_shim.a` | linked into every artefact in place of libcuda (see `shim/`) |
//! | `images.rs` | `include!`d by the GPU module: one fatbin for each `kernels/*.cu` |
//! | `resources.txt` | `tests/kernels_build.rs`: registers, shared memory and spills of every kernel |
//! | `flash_llm.h` | `tests/header.rs` compares it with the committed `include/flash_llm.h` |
//!
//! A machine without nvcc still gets the complete host library: `cfg(no_kernels)` is set, and one
//! warning says so.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, fs, process, thread};

/// Real architectures compiled when `FLASHLLM_CUDA_ARCHS` is not set. They are stated, never
/// detected: what a build contains must not depend on the machine that made it.
const DEFAULT_ARCHS: &str = "80;86;89;90a";

/// Oldest toolkit whose ptxas knows `sm_90a`.
const OLDEST_NVCC: (u32, u32) = (12, 0);

/// The C API, in the order in which the header presents it. Files of `src/capi` that are not named
/// here follow in alphabetical order, so that nothing exported can be missing from the header.
const HEADER_ORDER: [&str; 14] = [
    "status",
    "types",
    "context",
    "memory",
    "matrix",
    "convert",
    "csr",
    "prune",
    "spmm",
    "plan",
    "batch",
    "store",
    "safetensors",
    "logger",
];

fn main() {
    let root = PathBuf::from(var("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(var("OUT_DIR"));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(no_kernels)");
    soname();
    shim();
    kernels(&root, &out);
    header(&root, &out);
}

/// An environment variable that cargo promises to set.
fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo did not set {name}"))
}

/// A variable of the user's environment that changes the result of the build.
fn user_var(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Gives the shared library the name that the dynamic linker records in its users.
///
/// Before 1.0 each minor release may break the ABI, so the minor number is part of the name
/// (docs/abi-policy.md). cargo-c passes its own, identical, flag; it sets the feature `capi`.
fn soname() {
    if env::var_os("CARGO_FEATURE_CAPI").is_some() {
        return;
    }
    let (major, minor) = (var("CARGO_PKG_VERSION_MAJOR"), var("CARGO_PKG_VERSION_MINOR"));
    let abi = if major == "0" { format!("0.{minor}") } else { major };
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libflash_llm.so.{abi}");
}

/// Compiles the trampolines that stand for libcuda at link time.
///
/// `whole-archive` makes every trampoline defined before a dependent crate could add `-lcuda`, so
/// that no artefact of ours ever needs the driver in order to be loaded.
fn shim() {
    println!("cargo::rerun-if-changed=shim");
    cc::Build::new()
        .file("shim/cuda_shim.c")
        .std("c11")
        .flag("-fvisibility=hidden")
        .warnings(true)
        .extra_warnings(true)
        .cargo_metadata(false)
        .compile("flashllm_cuda_shim");
    println!("cargo::rustc-link-search=native={}", var("OUT_DIR"));
    println!("cargo::rustc-link-lib=static:+whole-archive=flashllm_cuda_shim");
    println!("cargo::rustc-link-lib=dylib=dl"); // dlopen; part of libc since glibc 2.34
}

// ---------------------------------------------------------------------------------------------
// Kernels
// ---------------------------------------------------------------------------------------------

/// An nvcc that answers, and its release.
struct Nvcc {
    path: PathBuf,
    release: (u32, u32),
    /// The line of `--version` that identifies the build of the compiler.
    build: String,
}

/// One fatbin to make: a `.cu` file for an element type.
struct Unit {
    /// Stem of the file, and the element type if it is not fp16.
    name: String,
    source: PathBuf,
    defines: &'static [&'static str],
}

/// The SpMM kernels are compiled for each 16-bit type; what only moves bits is compiled once.
fn units(sources: &[PathBuf]) -> Vec<Unit> {
    let mut units = Vec::new();
    for source in sources {
        let stem = stem(source);
        if stem.starts_with("spmm_") {
            let name = format!("{stem}_bf16");
            units.push(Unit { name, source: source.clone(), defines: &["-DFL_BF16=1"] });
        }
        units.push(Unit { name: stem, source: source.clone(), defines: &[] });
    }
    units
}

/// One unit compiled: where its fatbin lies and what nvcc said.
struct Compiled {
    fatbin: PathBuf,
    log: String,
}

fn kernels(root: &Path, out: &Path) {
    println!("cargo::rerun-if-changed=kernels");
    // `make` touches this file when it has installed the wheels, which is how a build that found
    // no nvcc learns that there is one now.
    println!("cargo::rerun-if-changed=requirements-cuda.txt");

    let sources = files_with_extension(&root.join("kernels"), &["cu"]);
    let missing = if user_var("FLASHLLM_NO_NVCC").is_some_and(|v| v != "0") {
        Some("FLASHLLM_NO_NVCC is set")
    } else if sources.is_empty() {
        Some("kernels/ has no .cu file")
    } else {
        None
    };
    let nvcc = if missing.is_none() { find_nvcc(root) } else { None };
    let Some(nvcc) = nvcc else {
        let reason = missing.unwrap_or(
            "nvcc was not found (set NVCC or CUDA_HOME, or run `make cuda` to fetch one)",
        );
        println!("cargo::warning=building the host library only, without GPU kernels: {reason}");
        println!("cargo::rustc-cfg=no_kernels");
        println!("cargo::rustc-env=FLASHLLM_BUILD_NVCC=none");
        println!("cargo::rustc-env=FLASHLLM_BUILD_ARCHS=none");
        write(&out.join("images.rs"), &images_rs(&[]));
        write(&out.join("resources.txt"), "");
        return;
    };

    let archs = architectures();
    // Not tracked: where fatbins are kept does not change what they are.
    let cache =
        env::var_os("FLASHLLM_KERNEL_CACHE").map_or_else(|| out.join("kernels"), PathBuf::from);
    fs::create_dir_all(&cache).unwrap_or_else(|e| panic!("cannot create {}: {e}", cache.display()));

    let compiled = compile_all(root, &cache, &nvcc, &archs, &units(&sources));
    let images: Vec<(String, PathBuf)> =
        compiled.iter().map(|(stem, c)| (stem.clone(), c.fatbin.clone())).collect();
    write(&out.join("images.rs"), &images_rs(&images));

    let mut resources = String::from(RESOURCES_HEADING);
    for (stem, c) in &compiled {
        for line in c.log.lines().filter(|l| l.contains("warning")) {
            println!("cargo::warning={stem}.cu: {}", line.trim());
        }
        resources += &resource_lines(stem, &c.log);
    }
    write(&out.join("resources.txt"), &resources);

    println!("cargo::rustc-env=FLASHLLM_BUILD_NVCC={}.{}", nvcc.release.0, nvcc.release.1);
    println!("cargo::rustc-env=FLASHLLM_BUILD_ARCHS={}", archs.join(";"));
}

/// The architectures to compile for, checked.
fn architectures() -> Vec<String> {
    let list = user_var("FLASHLLM_CUDA_ARCHS").unwrap_or_else(|| DEFAULT_ARCHS.into());
    let archs: Vec<String> =
        list.split([';', ',', ' ']).filter(|a| !a.is_empty()).map(str::to_owned).collect();
    let valid = |a: &String| {
        let digits = a.trim_end_matches(['a', 'f']);
        a.len() - digits.len() <= 1 && digits.parse::<u32>().is_ok_and(|n| n >= 80)
    };
    if let Some(bad) = archs.iter().find(|a| !valid(a)) {
        panic!("FLASHLLM_CUDA_ARCHS: {bad:?} is not an architecture of 80 or newer (e.g. 80;90a)");
    }
    assert!(!archs.is_empty(), "FLASHLLM_CUDA_ARCHS names no architecture");
    archs
}

/// The first nvcc that works, in the order of CONTRIBUTING.md's list.
///
/// An explicit `NVCC` is binding: if it does not work, the build stops instead of using another.
fn find_nvcc(root: &Path) -> Option<Nvcc> {
    if let Some(path) = user_var("NVCC") {
        return Some(probe(Path::new(&path)).unwrap_or_else(|why| panic!("NVCC={path}: {why}")));
    }
    let mut candidates = Vec::new();
    for name in ["CUDA_HOME", "CUDA_PATH"] {
        candidates.extend(user_var(name).map(|dir| Path::new(&dir).join("bin/nvcc")));
    }
    candidates.push("/usr/local/cuda/bin/nvcc".into());
    println!("cargo::rerun-if-env-changed=PATH");
    let path = env::var_os("PATH").unwrap_or_default();
    candidates.extend(env::split_paths(&path).map(|dir| dir.join("nvcc")));
    let venv =
        user_var("FLASHLLM_CUDA_VENV").map_or_else(|| root.join("target/cuda"), PathBuf::from);
    candidates.extend(wheel_nvcc(&venv));

    for candidate in candidates.iter().filter(|c| c.is_file()) {
        match probe(candidate) {
            Ok(nvcc) => return Some(nvcc),
            Err(why) => println!("cargo::warning={} is not used: {why}", candidate.display()),
        }
    }
    None
}

/// Where NVIDIA's Python wheels put nvcc: in a virtual environment, or under `pip --target`.
fn wheel_nvcc(venv: &Path) -> Vec<PathBuf> {
    let mut site = vec![venv.to_owned()];
    for python in fs::read_dir(venv.join("lib")).into_iter().flatten().flatten() {
        site.push(python.path().join("site-packages"));
    }
    site.sort();
    site.into_iter().map(|dir| dir.join("nvidia/cu13/bin/nvcc")).collect()
}

/// Runs `nvcc --version`.
fn probe(path: &Path) -> Result<Nvcc, String> {
    let output = Command::new(path).arg("--version").output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    // "Cuda compilation tools, release 13.0, V13.0.88"
    let line =
        text.lines().find(|l| l.contains(", release ")).ok_or("--version says no release")?;
    let release = line.split(", release ").nth(1).and_then(|r| r.split(',').next()).unwrap_or("");
    let (major, minor) = release.split_once('.').unwrap_or((release, "0"));
    let parse =
        |s: &str| s.parse::<u32>().map_err(|_| format!("cannot read the release {release:?}"));
    let release = (parse(major)?, parse(minor)?);
    if release < OLDEST_NVCC {
        let (major, minor) = OLDEST_NVCC;
        return Err(format!("release {}.{} is older than {major}.{minor}", release.0, release.1));
    }
    Ok(Nvcc { path: path.to_owned(), release, build: line.to_owned() })
}

/// nvcc's arguments for one file, without the paths.
fn flags(stem: &str, archs: &[String]) -> Vec<String> {
    let mut flags: Vec<String> = [
        "-fatbin",
        "-O3",
        "-std=c++17",
        "--resource-usage",
        "-Xptxas=-warn-spills,-warn-lmem-usage",
        // Errors for the front end's warnings only: -Werror=all-warnings would also make a spill an
        // error, and a toolkit that allocates registers differently must still build.
        // tests/kernels_build.rs refuses spills with the pinned toolkit.
        "-Xcudafe=--promote_warnings",
    ]
    .map(String::from)
    .to_vec();
    // Slower, and nothing but that: fl_ptx.cuh says what the tool cannot see otherwise.
    if user_var("FLASHLLM_RACECHECK").is_some() {
        flags.push("-DFL_RACECHECK".into());
    }
    let mut gencode = |arch: &str, code: &str| {
        flags.push("-gencode".into());
        flags.push(format!("arch=compute_{arch},code={code}"));
    };
    if stem.contains("_sm90") {
        // wgmma and TMA exist in no other instruction set; such a kernel always has an sm_80
        // sibling, whose PTX serves newer devices.
        gencode("90a", "sm_90a");
        return flags;
    }
    for arch in archs {
        gencode(arch, &format!("sm_{arch}"));
    }
    // PTX of the oldest plain architecture: devices newer than this build compile it themselves.
    let oldest = archs.iter().filter_map(|a| a.parse::<u32>().ok()).min().unwrap_or(80).to_string();
    gencode(&oldest, &format!("compute_{oldest}"));
    flags
}

/// Compiles every unit, at most one nvcc for each core, and returns them by name.
fn compile_all(
    root: &Path,
    cache: &Path,
    nvcc: &Nvcc,
    archs: &[String],
    units: &[Unit],
) -> BTreeMap<String, Compiled> {
    // Any header may be included by any kernel, so that each is part of every key.
    let headers: Vec<u8> = files_with_extension(&root.join("kernels"), &["h", "cuh"])
        .iter()
        .flat_map(|p| read(p))
        .collect();
    let jobs = thread::available_parallelism().map_or(1, usize::from).min(units.len());
    let queue = Mutex::new(units.iter());
    let done = Mutex::new(BTreeMap::new());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let Some(unit) = queue.lock().expect("no worker panics").next() else {
                        return;
                    };
                    match compile(root, cache, nvcc, archs, unit, &headers) {
                        Ok(c) => {
                            done.lock().expect("no worker panics").insert(unit.name.clone(), c);
                        }
                        Err(e) => failures.lock().expect("no worker panics").push(e),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no worker panics");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    done.into_inner().expect("no worker panics")
}

/// Compiles one unit, or finds the result of an earlier build.
///
/// Cargo runs this script again after any change below `kernels/`; a fatbin is therefore named
/// after a hash of everything it depends on and is reused while that stays the same.
fn compile(
    root: &Path,
    cache: &Path,
    nvcc: &Nvcc,
    archs: &[String],
    unit: &Unit,
    headers: &[u8],
) -> Result<Compiled, String> {
    let Unit { name, source, defines } = unit;
    let mut flags = flags(&stem(source), archs);
    flags.extend(defines.iter().map(ToString::to_string));
    let mut key = Hash::new();
    key.add(nvcc.build.as_bytes());
    key.add(flags.join(" ").as_bytes());
    key.add(&read(source));
    key.add(headers);
    let name = format!("{name}-{:016x}", key.0);
    let (fatbin, log) = (cache.join(format!("{name}.fatbin")), cache.join(format!("{name}.log")));
    if fatbin.is_file() {
        if let Ok(log) = fs::read_to_string(&log) {
            return Ok(Compiled { fatbin, log });
        }
    }

    // Written under a private name and renamed, so that an interrupted build leaves nothing behind
    // that looks complete, and two builds may share the cache.
    let partial = cache.join(format!("{name}.{}.partial", process::id()));
    let output = Command::new(&nvcc.path)
        .args(&flags)
        .arg("-I")
        .arg(root.join("kernels/include"))
        .arg("-o")
        .arg(&partial)
        .arg(source)
        .output()
        .map_err(|e| format!("cannot run {}: {e}", nvcc.path.display()))?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if !output.status.success() {
        return Err(format!("nvcc failed for {} ({}):\n{said}", source.display(), output.status));
    }
    fs::write(&log, &said).map_err(|e| format!("cannot write {}: {e}", log.display()))?;
    fs::rename(&partial, &fatbin).map_err(|e| format!("cannot write {}: {e}", fatbin.display()))?;
    Ok(Compiled { fatbin, log: said })
}

/// Rust source of the table of images.
fn images_rs(images: &[(String, PathBuf)]) -> String {
    let mut text = String::from("// Generated by build.rs.\n");
    if !images.is_empty() {
        // include_bytes! alone has an alignment of one; the driver reads the image's ELF headers
        // in place.
        text += "#[repr(C, align(64))]\nstruct Aligned<T: ?Sized>(T);\n";
    }
    for (i, (_, fatbin)) in images.iter().enumerate() {
        let _ = writeln!(
            text,
            "static IMAGE_{i}: &Aligned<[u8]> = &Aligned(*include_bytes!({:?}));",
            fatbin.display().to_string()
        );
    }
    text += "/// (stem of the file in kernels/ and element type, its fatbin).\n";
    text += "pub static IMAGES: &[(&str, &[u8])] = &[\n";
    for (i, (stem, _)) in images.iter().enumerate() {
        let _ = writeln!(text, "    ({stem:?}, &IMAGE_{i}.0),");
    }
    text + "];\n"
}

const RESOURCES_HEADING: &str =
    "# file arch entry registers smem_bytes stack_bytes spill_store_bytes spill_load_bytes\n";

/// What ptxas says of every entry point, one line each, sorted.
fn resource_lines(stem: &str, log: &str) -> String {
    // ptxas info    : Compiling entry function 'fl_x' for 'sm_80'
    //     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
    // ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem, 400 bytes cmem[0]
    let number_before = |line: &str, what: &str| -> u64 {
        let head = line.split(what).next().filter(|head| head.len() < line.len());
        head.and_then(|h| h.trim_end().rsplit([' ', ',']).next()?.parse().ok()).unwrap_or(0)
    };
    let mut lines = Vec::new();
    let mut entry: Option<(String, String)> = None;
    let mut stack = [0; 3];
    for line in log.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let mut parts = rest.split('\'');
            let name = parts.next().unwrap_or_default().to_owned();
            let arch = parts.nth(1).unwrap_or_default().to_owned();
            entry = Some((name, arch));
            stack = [0; 3];
        } else if line.contains("bytes stack frame") {
            stack = ["bytes stack frame", "bytes spill stores", "bytes spill loads"]
                .map(|what| number_before(line, what));
        } else if line.contains(" registers") && line.contains("Used ") {
            if let Some((name, arch)) = entry.take() {
                let registers = number_before(line, " registers");
                let smem = number_before(line, " bytes smem");
                let [frame, stores, loads] = stack;
                lines.push(format!(
                    "{stem} {arch} {name} {registers} {smem} {frame} {stores} {loads}\n"
                ));
            }
        }
    }
    lines.sort();
    lines.concat()
}

// ---------------------------------------------------------------------------------------------
// Header
// ---------------------------------------------------------------------------------------------

fn header(root: &Path, out: &Path) {
    println!("cargo::rerun-if-changed=cbindgen.toml");
    println!("cargo::rerun-if-changed=src/capi");
    let path = out.join("flash_llm.h");
    println!("cargo::rustc-env=FLASHLLM_GENERATED_HEADER={}", path.display());

    let capi = root.join("src/capi");
    let mut sources: Vec<PathBuf> =
        HEADER_ORDER.iter().map(|s| capi.join(format!("{s}.rs"))).filter(|p| p.is_file()).collect();
    for file in files_with_extension(&capi, &["rs"]) {
        // mod.rs only names its files; cbindgen would follow it and list everything twice.
        if stem(&file) != "mod" && !sources.contains(&file) {
            sources.push(file);
        }
    }
    if sources.is_empty() {
        return;
    }

    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml"))
        .unwrap_or_else(|e| panic!("cbindgen.toml: {e}"));
    // The version is written once, in Cargo.toml.
    let [major, minor, patch] =
        ["MAJOR", "MINOR", "PATCH"].map(|part| var(&format!("CARGO_PKG_VERSION_{part}")));
    config.after_includes = config.after_includes.map(|text| {
        text.replace("@MAJOR@", &major).replace("@MINOR@", &minor).replace("@PATCH@", &patch)
    });
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in sources {
        builder = builder.with_src(source);
    }
    match builder.generate() {
        Ok(bindings) => {
            bindings.write_to_file(&path);
        }
        // rustc reports the same file with a better message; let it.
        Err(cbindgen::Error::ParseSyntaxError { .. }) => {}
        Err(e) => panic!("cbindgen: {e}"),
    }
}

// ---------------------------------------------------------------------------------------------
// Small things
// ---------------------------------------------------------------------------------------------

/// FNV-1a; each part is closed by its length, so that moving bytes between parts changes the hash.
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes.iter().chain(&bytes.len().to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Files below `dir` with one of the extensions, sorted.
fn files_with_extension(dir: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with_extension(&path, extensions));
        } else if path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
}
