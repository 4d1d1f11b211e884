//! docs/integration.md: its programs are compiled and run, and its fragments are compiled, where the tools
//! are on the machine; README.md's program is compiled and run. Needs c++ and python3.

mod build_support;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

use build_support::{compiler, link_libraries, root, run, scratch};

/// The fenced blocks of a language in docs/integration.md, with the line that each begins at.
fn blocks(language: &str) -> Vec<(usize, String)> {
    blocks_of("docs/integration.md", language)
}

fn blocks_of(page: &str, language: &str) -> Vec<(usize, String)> {
    let text = fs::read_to_string(root().join(page)).expect("the page is there");
    let mut found = Vec::new();
    let mut current: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        if let Some(block) = &mut current {
            if line == "```" {
                found.extend(current.take());
            } else {
                block.1.push_str(line);
                block.1.push('\n');
            }
        } else if line.strip_prefix("```") == Some(language) {
            current = Some((number + 2, String::new()));
        }
    }
    assert!(current.is_none(), "a block of {language} does not end");
    found
}

#[test]
fn cxx_program_compiles_without_warnings_and_runs() {
    let dir = scratch("integration-cxx");
    link_libraries(&dir);
    let programs = blocks("cpp");
    assert_eq!(programs.len(), 1);
    let source = dir.join("engine.cc");
    fs::write(&source, &programs[0].1).expect("a scratch file can be written");
    let program = dir.join("engine");
    let mut command = compiler("c++17");
    command.arg("-I").arg(root().join("include")).arg(&source).arg("-o").arg(&program);
    run(command.arg("-L").arg(&dir).arg("-lflash_llm"));
    let printed = run(Command::new(&program).env("LD_LIBRARY_PATH", &dir));
    assert_eq!(printed, "288 outputs are right\n");
}

/// As .editorconfig says. Rows of tables, code and what `flash_llm_bench report` generates are as long as they are.
#[test]
fn prose_is_at_most_120_columns_wide() {
    let folders = ["", "docs", "c-examples", "c-examples/fastertransformer", "python"];
    let mut pages = 0;
    for folder in folders {
        for entry in fs::read_dir(root().join(folder)).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            if path.extension().is_none_or(|e| e != "md") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("a page");
            let (mut code, mut generated) = (false, false);
            for (number, line) in text.lines().enumerate() {
                code ^= line.trim_start().starts_with("```");
                generated |= line.starts_with("<!-- bench:") && line.ends_with(":begin -->");
                generated &= !line.ends_with(":end -->");
                let exempt = code || generated || line.trim_start().starts_with(['|', '`', '!']);
                let wide = !exempt && line.chars().count() > 120;
                assert!(!wide, "{}:{}: {line}", path.display(), number + 1);
            }
            pages += 1;
        }
    }
    assert!(pages > 20, "{pages} pages");
}

#[test]
fn the_readmes_program_multiplies() {
    let dir = scratch("readme-c");
    link_libraries(&dir);
    let programs = blocks_of("README.md", "c");
    assert_eq!(programs.len(), 1);
    let (line, text) = &programs[0];
    // On the host, and with a check behind it. The include may stand in a function, the header having been read before.
    let body = text.replace("flashllmCreate(&handle);", "flashllmCreateHost(&handle);");
    assert_ne!(&body, text);
    let source = format!(
        "#include <flash_llm.h>\n#include <stdio.h>\n\
         enum {{ M = 3, K = 5, N = 2 }};\n\
         int main(void) {{\n\
         uint16_t weights[M * K] = {{0}}, activations[N * K] = {{0}}, outputs[N * M] = {{0}};\n\
         flashllmStream_t stream = NULL;\n\
         weights[2 * K + 4] = 0x4000; /* W(2, 4) = 2 */\n\
         activations[K + 4] = 0x4200; /* B(4, 1) = 3 */\n\
         #line {line} \"README.md\"\n{body}\
         for (int i = 0; i < N * M; ++i) printf(\"%x \", outputs[i]);\n\
         return (int)(rows - M + cols - K + nnz - 1);\n}}\n"
    );
    let path = dir.join("readme.c");
    fs::write(&path, source).expect("a scratch file can be written");
    let program = dir.join("readme");
    let mut command = compiler("c11");
    command.arg("-I").arg(root().join("include")).arg(&path).arg("-o").arg(&program);
    run(command.arg("-L").arg(&dir).arg("-lflash_llm"));
    let printed = run(Command::new(&program).env("LD_LIBRARY_PATH", &dir));
    assert_eq!(printed, "0 0 0 0 0 4600 ", "C(2, 1) = 6");
}

#[test]
fn c_fragments_compile_without_warnings() {
    let dir = scratch("integration-c");
    let fragments = blocks("c");
    assert!(fragments.len() >= 5, "only {} fragments", fragments.len());
    let mut source = String::from("#include <flash_llm.h>\n#include <stdio.h>\n");
    for (line, fragment) in &fragments {
        source.push_str(&format!(
            "void fragment_{line}(flashllmHandle_t handle, flashllmStream_t stream, flashllmConstSpMatDescr_t matrix,\n\
             \x20   const void *weights, const void *inputs, void *outputs, int64_t M, int64_t K, int64_t max_tokens,\n\
             \x20   int64_t rank, int64_t ranks, float alpha, float beta);\n\
             void fragment_{line}(flashllmHandle_t handle, flashllmStream_t stream, flashllmConstSpMatDescr_t matrix,\n\
             \x20   const void *weights, const void *inputs, void *outputs, int64_t M, int64_t K, int64_t max_tokens,\n\
             \x20   int64_t rank, int64_t ranks, float alpha, float beta) {{\n\
             (void)handle; (void)stream; (void)matrix; (void)weights; (void)inputs; (void)outputs; (void)M; (void)K;\n\
             (void)max_tokens; (void)rank; (void)ranks; (void)alpha; (void)beta;\n\
             #line {line} \"docs/integration.md\"\n{fragment}}}\n"
        ));
    }
    let path = dir.join("fragments.c");
    fs::write(&path, source).expect("a scratch file can be written");
    let mut command = compiler("c99");
    command.arg("-I").arg(root().join("include")).arg("-c").arg(&path);
    run(command.arg("-o").arg(dir.join("fragments.o")));
}

#[test]
fn python_program_runs() {
    let dir = scratch("integration-python");
    link_libraries(&dir);
    let programs = blocks("python");
    assert_eq!(programs.len(), 1);
    let program = dir.join("engine.py");
    fs::write(&program, &programs[0].1).expect("a scratch file can be written");
    let printed = run(Command::new("python3").arg(&program).env("LD_LIBRARY_PATH", &dir));
    assert!(printed.contains("refused, as it should be:"), "{printed}");
    assert!(printed.contains("flash_llm "), "{printed}");
}

/// The page's program in a language and a folder to build it in. None where its compiler is not there: the test is listed as ignored
/// then, which libtest cannot say after it has begun, by what goes past print!() and is not captured.
fn program(language: &str, test: &str) -> Option<(String, PathBuf)> {
    let found = blocks(language);
    assert_eq!(found.len(), 1);
    if !Command::new(language).arg("version").output().is_ok_and(|o| o.status.success()) {
        let _ = writeln!(io::stdout(), "test {test} ... ignored, {language} is not installed");
        return None;
    }
    let dir = scratch(&format!("integration-{language}"));
    link_libraries(&dir);
    found.into_iter().next().map(|(_, source)| (source, dir))
}

#[test]
fn the_go_program_builds_and_runs() {
    let Some((source, dir)) = program("go", "the_go_program_builds_and_runs") else { return };
    let source = source.replace(
        "// #cgo pkg-config: flash_llm",
        &format!(
            "// #cgo CFLAGS: -I{}\n// #cgo LDFLAGS: -L{} -lflash_llm",
            root().join("include").display(),
            dir.display()
        ),
    );
    fs::write(dir.join("engine.go"), source).expect("a scratch file can be written");
    let mut command = Command::new("go");
    command.args(["run", "engine.go"]).current_dir(&dir).env("GOFLAGS", "-mod=mod");
    assert!(run(command.env("LD_LIBRARY_PATH", &dir)).contains("flash_llm"));
}

#[test]
fn the_zig_program_builds_and_runs() {
    let Some((source, dir)) = program("zig", "the_zig_program_builds_and_runs") else { return };
    fs::write(dir.join("engine.zig"), source).expect("a scratch file can be written");
    let mut command = Command::new("zig");
    command.args(["build-exe", "engine.zig", "-lc", "-lflash_llm"]).current_dir(&dir);
    command.arg("-I").arg(root().join("include")).arg("-L").arg(&dir);
    run(&mut command);
    run(Command::new(dir.join("engine")).env("LD_LIBRARY_PATH", &dir));
}
