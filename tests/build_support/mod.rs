//! Running the C toolchain and finding our own artefacts, for the tests of the build.
#![allow(dead_code)] // each test uses a part

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The folder with libflash_llm.so and libflash_llm.a of the build that this test belongs to.
pub fn build_dir() -> PathBuf {
    let exe = env::current_exe().expect("a test knows its own path");
    // <target>/<profile>/deps/<test>: cargo test leaves the libraries beside it.
    let deps = exe.parent().expect("an executable lies in a folder");
    assert!(
        deps.join("libflash_llm.so").is_file(),
        "libflash_llm.so is not in {}, where cargo test builds it",
        deps.display()
    );
    deps.to_owned()
}

/// A fresh folder below the target directory, named after the test.
pub fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).expect("an old scratch folder can be removed");
    }
    fs::create_dir_all(&dir).expect("a scratch folder can be made");
    dir
}

/// The library's file name with the version of its ABI, which is what programs ask the loader for.
pub fn soname() -> String {
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    let abi = if major == "0" { format!("0.{minor}") } else { major.to_owned() };
    format!("libflash_llm.so.{abi}")
}

/// Links the libraries into a folder, under the names that the linker and the loader look for.
pub fn link_libraries(dir: &Path) {
    let built = build_dir();
    for (name, file) in [
        ("libflash_llm.so", "libflash_llm.so"),
        (&soname(), "libflash_llm.so"),
        ("libflash_llm.a", "libflash_llm.a"),
    ] {
        symlink(built.join(file), dir.join(name)).expect("a link can be made");
    }
}

/// A make of c-examples that builds into `dir` with the libraries in `library`.
pub fn make_examples(library: &Path, dir: &Path) -> Command {
    let mut make = Command::new("make");
    make.arg("--no-print-directory").arg("-C").arg(root().join("c-examples"));
    make.arg(format!("BUILD={}", dir.display()));
    make.arg(format!("PREFIX_INC={}", root().join("include").display()));
    make.arg(format!("LIBDIR={}", library.display()));
    // A job server of the make that started cargo is not ours to use.
    make.env_remove("MAKEFLAGS").env_remove("MFLAGS");
    make
}

/// Runs to success and returns what was printed; on failure shows everything.
pub fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

/// A C or C++ compiler with every warning an error; the language follows from the standard.
pub fn compiler(standard: &str) -> Command {
    let cxx = standard.contains("++");
    let program = if cxx {
        env::var_os("CXX").unwrap_or_else(|| "c++".into())
    } else {
        env::var_os("CC").unwrap_or_else(|| "cc".into())
    };
    let mut command = Command::new(program);
    command.arg(format!("-std={standard}"));
    command.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    command
}

/// A libcuda.so.1 that counts and refuses (`fakecuda/`) and runs the conversion kernels on the host
/// (`emulation/`), in a folder of its own; `absent` names an entry point that an older driver does not have.
pub fn fake_driver(absent: Option<&str>) -> PathBuf {
    let dir = scratch(&format!("fakecuda-{}-{}", absent.unwrap_or("all"), std::process::id()));
    let driver = dir.join("fakecuda.o");
    let mut cc = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fPIC", "-c"]);
    if let Some(name) = absent {
        // The function is still there, but nobody asks for it by this name.
        cc.arg(format!("-D{name}=fake_absent"));
    }
    run(cc.arg("-o").arg(&driver).arg(root().join("tests/fakecuda/fakecuda.c")));
    let mut cxx = Command::new(env::var_os("CXX").unwrap_or_else(|| "c++".into()));
    // Checked longjmp would take a fibre's stack for a corrupted one.
    cxx.args(["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]);
    cxx.args(["-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-fPIC", "-shared", "-pthread"]);
    cxx.args(["-Wl,-soname,libcuda.so.1", "-o"]).arg(dir.join("libcuda.so.1"));
    cxx.arg("-I").arg(root().join("kernels/include"));
    run(cxx.arg(root().join("tests/emulation/kernels.cpp")).arg(&driver));
    dir
}

/// Compares with a committed file, or rewrites it when FLASHLLM_BLESS is set.
pub fn assert_golden(path: &Path, actual: &str, what: &str) {
    if env::var_os("FLASHLLM_BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("a golden file lies in a folder"))
            .expect("its folder can be made");
        fs::write(path, actual).expect("a golden file can be rewritten");
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return;
    }
    let first = expected
        .lines()
        .zip(actual.lines())
        .position(|(e, a)| e != a)
        .unwrap_or_else(|| expected.lines().count().min(actual.lines().count()));
    panic!(
        "{what} differs from {} at line {}:\n  committed: {}\n  now:       {}\nIf the change is meant, run the test again with FLASHLLM_BLESS=1.",
        path.display(),
        first + 1,
        expected.lines().nth(first).unwrap_or("(end of file)"),
        actual.lines().nth(first).unwrap_or("(end of file)"),
    );
}
