//! `make install` gives a tree that C programs find with pkg-config and with CMake, wherever it lies.

mod build_support;

use build_support::{build_dir, compiler, link_libraries, root, run, scratch, soname};
use object::read::archive::ArchiveFile;
use object::{Object, ObjectSymbol};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Installs the libraries of this build below `destdir`; a multiarch LIBDIR, as distributions have.
fn install(destdir: &Path, libdir: &str) {
    let mut make = Command::new("make");
    make.current_dir(root()).args(["--no-print-directory", "install-files"]);
    make.arg(format!("BUILD_DIR={}", build_dir().display()));
    make.arg(format!("DESTDIR={}", destdir.display()));
    make.args(["PREFIX=/usr", &format!("LIBDIR={libdir}"), "INCLUDEDIR=/usr/include"]);
    // An outer make would hand down its own variables.
    make.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
    run(&mut make);
}

/// Every file and link below `dir`, links with their targets.
fn tree(dir: &Path, prefix: &Path, out: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        let name = path.strip_prefix(prefix).expect("a path below").display().to_string();
        let kind = entry.file_type().expect("a kind");
        if kind.is_symlink() {
            out.insert(format!("{name} -> {}", fs::read_link(&path).expect("a link").display()));
        } else if kind.is_dir() {
            tree(&path, prefix, out);
        } else {
            out.insert(name);
        }
    }
}

fn pkg_config(pkgconfig_dir: &Path, args: &[&str]) -> Vec<String> {
    let program = ["pkg-config", "pkgconf"]
        .into_iter()
        .find(|p| Command::new(p).arg("--version").output().is_ok_and(|o| o.status.success()))
        .expect("pkg-config is needed: `make test` fetches it where it is missing");
    let mut command = Command::new(program);
    command.env("PKG_CONFIG_LIBDIR", pkgconfig_dir).env_remove("PKG_CONFIG_PATH");
    command.env_remove("PKG_CONFIG_SYSROOT_DIR").args(args).arg("flash_llm");
    run(&mut command).split_whitespace().map(str::to_owned).collect()
}

/// The consumer's own check of version and handle.
fn check_consumer(program: &Path, libdir: Option<&Path>) {
    let mut command = Command::new(program);
    match libdir {
        Some(dir) => command.env("LD_LIBRARY_PATH", dir),
        None => command.env_remove("LD_LIBRARY_PATH"),
    };
    assert!(run(&mut command).starts_with("flash_llm "));
}

#[test]
fn installed_files_are_these() {
    let destdir = scratch("install_files");
    install(&destdir, "/usr/lib/x86_64-linux-gnu");
    let mut found = BTreeSet::new();
    tree(&destdir, &destdir, &mut found);
    let soname = soname();
    let lib = "usr/lib/x86_64-linux-gnu";
    let expected = BTreeSet::from([
        "usr/include/flash_llm.h".to_owned(),
        format!("{lib}/cmake/flash_llm/flash_llmConfig.cmake"),
        format!("{lib}/cmake/flash_llm/flash_llmConfigVersion.cmake"),
        format!("{lib}/libflash_llm.a"),
        format!("{lib}/libflash_llm.so -> {soname}"),
        format!("{lib}/libflash_llm.so.{VERSION}"),
        format!("{lib}/{soname} -> libflash_llm.so.{VERSION}"),
        format!("{lib}/pkgconfig/flash_llm.pc"),
    ]);
    assert_eq!(found, expected);

    let mut make = Command::new("make");
    make.current_dir(root()).args(["--no-print-directory", "uninstall", "PREFIX=/usr"]);
    make.arg(format!("DESTDIR={}", destdir.display())).arg("LIBDIR=/usr/lib/x86_64-linux-gnu");
    run(make.env_remove("MAKEFLAGS").env_remove("MFLAGS"));
    let mut left = BTreeSet::new();
    tree(&destdir, &destdir, &mut left);
    assert!(left.is_empty(), "uninstall left {left:?}");
}

#[test]
fn no_installed_text_names_the_staging_folder_or_a_placeholder() {
    let destdir = scratch("install_texts");
    install(&destdir, "/usr/lib");
    for file in [
        "usr/lib/pkgconfig/flash_llm.pc",
        "usr/lib/cmake/flash_llm/flash_llmConfig.cmake",
        "usr/lib/cmake/flash_llm/flash_llmConfigVersion.cmake",
        "usr/include/flash_llm.h",
    ] {
        let text = fs::read_to_string(destdir.join(file)).expect("an installed text");
        assert!(!text.contains(destdir.to_str().expect("a UTF-8 path")), "{file} names DESTDIR");
        let placeholder = text
            .split_whitespace()
            .find(|w| w.matches('@').count() >= 2 && w.contains(|c: char| c.is_ascii_uppercase()));
        assert!(placeholder.is_none(), "{file} has a placeholder left: {placeholder:?}");
    }
}

#[test]
fn pkg_config_gives_the_paths_and_moves_with_the_tree() {
    let destdir = scratch("install_pc");
    install(&destdir, "/usr/lib");
    let pc = destdir.join("usr/lib/pkgconfig");
    assert_eq!(pkg_config(&pc, &["--modversion"]), [VERSION]);
    assert_eq!(pkg_config(&pc, &["--variable=prefix"]), ["/usr"]);
    assert_eq!(pkg_config(&pc, &["--variable=libdir"]), ["/usr/lib"]);

    let moved = scratch("install_pc_moved").join("elsewhere");
    fs::rename(destdir.join("usr"), &moved).expect("a tree can be moved");
    let prefix =
        pkg_config(&moved.join("lib/pkgconfig"), &["--define-prefix", "--variable=includedir"]);
    assert_eq!(prefix, [moved.join("include").display().to_string()]);
}

#[test]
fn consumer_builds_and_runs_with_pkg_config_shared_and_static() {
    let destdir = scratch("install_consumer_pc");
    install(&destdir, "/usr/lib");
    let libdir = destdir.join("usr/lib");
    let source = root().join("tests/consumers/consumer.c");
    let build = |name: &str, flags: Vec<String>| -> PathBuf {
        let program = destdir.join(name);
        run(compiler("c99").arg(&source).arg("-o").arg(&program).args(flags));
        program
    };

    let flags = pkg_config(&libdir.join("pkgconfig"), &["--define-prefix", "--cflags", "--libs"]);
    check_consumer(&build("shared", flags), Some(&libdir));

    // The linker prefers the shared library where it finds both.
    for file in ["libflash_llm.so".to_owned(), format!("libflash_llm.so.{VERSION}")] {
        fs::remove_file(libdir.join(file)).expect("an installed file");
    }
    let flags = pkg_config(
        &libdir.join("pkgconfig"),
        &["--define-prefix", "--static", "--cflags", "--libs"],
    );
    check_consumer(&build("static", flags), None);
}

#[test]
fn consumer_builds_and_runs_with_find_package() {
    let base = scratch("install_consumer_cmake");
    install(&base.join("stage"), "/usr/lib/x86_64-linux-gnu");
    // The package has to work from wherever it was moved.
    let prefix = base.join("moved");
    fs::rename(base.join("stage/usr"), &prefix).expect("a tree can be moved");

    let configure = |version: &str, build: &Path| {
        let mut cmake = Command::new("cmake");
        cmake.arg("-S").arg(root().join("tests/consumers/cmake")).arg("-B").arg(build);
        cmake.arg(format!("-DFLASH_LLM_VERSION={version}"));
        cmake.arg(format!(
            "-Dflash_llm_DIR={}",
            prefix.join("lib/x86_64-linux-gnu/cmake/flash_llm").display()
        ));
        cmake.env_remove("MAKEFLAGS").env_remove("MFLAGS");
        cmake
    };
    let build = base.join("build");
    run(&mut configure(VERSION, &build));
    run(Command::new("cmake")
        .arg("--build")
        .arg(&build)
        .env_remove("MAKEFLAGS")
        .env_remove("MFLAGS"));
    check_consumer(&build.join("consumer_flash_llm"), None);
    check_consumer(&build.join("consumer_flash_llm_static"), None);

    let refused = configure("99.0", &base.join("refused")).output().expect("cmake runs");
    assert!(!refused.status.success(), "version 99.0 was accepted");
}

#[test]
fn examples_build_and_run_with_cmake_from_an_installed_tree_and_in_the_source_tree() {
    let base = scratch("install_examples_cmake");
    install(&base.join("stage"), "/usr/lib");
    let prefix = base.join("stage/usr");
    let installed = [format!("-DCMAKE_PREFIX_PATH={}", prefix.display())];
    let in_tree = [
        format!("-DFLASH_LLM_INCLUDE_DIR={}", root().join("include").display()),
        format!("-DFLASH_LLM_LIBRARY={}", build_dir().join("libflash_llm.so").display()),
    ];
    let programs: Vec<String> = fs::read_dir(root().join("c-examples"))
        .expect("the examples")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter_map(|name| Some(name.strip_suffix(".c")?.to_owned()))
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    assert!(programs.len() >= 6, "{programs:?}");
    for (name, arguments) in [("installed", &installed[..]), ("in_tree", &in_tree[..])] {
        let build = base.join(name);
        let cmake = |arguments: &[&str]| {
            let mut cmake = Command::new("cmake");
            cmake.args(arguments).env_remove("MAKEFLAGS").env_remove("MFLAGS");
            cmake
        };
        run(cmake(&["-S", "c-examples", "-B"]).arg(&build).args(arguments).current_dir(root()));
        run(cmake(&["--build"]).arg(&build));
        // Some end with 77, which CTest reports as skipped and not as a failure.
        let mut ctest = Command::new("ctest");
        ctest.arg("--output-on-failure").current_dir(&build);
        // The library in the tree has no link of its SONAME's name beside it.
        link_libraries(&build);
        ctest.env("LD_LIBRARY_PATH", &build);
        let said = run(&mut ctest);
        for program in &programs {
            assert!(said.contains(program), "CTest does not run {program}:\n{said}");
        }
        assert!(said.contains("100% tests passed"), "{said}");
    }
}

#[test]
fn static_archive_defines_our_functions_and_nothing_else() {
    let destdir = scratch("install_archive");
    install(&destdir, "/usr/lib");
    let data = fs::read(destdir.join("usr/lib/libflash_llm.a")).expect("the archive");
    let archive = ArchiveFile::parse(&*data).expect("an archive");
    let mut defined = String::new();
    for member in archive.members() {
        let member = member.expect("a member");
        // A copy, because members begin at even addresses and ELF headers are read in place.
        let bytes = member.data(&*data).expect("its bytes").to_vec();
        let object = object::File::parse(&*bytes).expect("an object file");
        let mut names: Vec<&str> = object
            .symbols()
            .filter(|s| s.is_global() && s.is_definition())
            .map(|s| s.name().expect("a name"))
            .collect();
        names.sort_unstable();
        for name in names {
            defined += name;
            defined += "\n";
        }
    }
    let expected =
        fs::read_to_string(root().join("tests/abi/symbols.txt")).expect("it is committed");
    assert_eq!(defined, expected);
}
