//! The C++ examples on the GPU: the checks of tests/cxx_examples.rs with `--device cuda`. Fails where there
//! is no GPU or no cuBLAS. The programs are those of the bundle (`FLASHLLM_EXAMPLES`), or are built here.

mod build_support;
mod engine_support;
mod support;

use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;

use build_support::{link_libraries, make_examples, run};
use engine_support::Programs;

fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        if let Some(folder) = env::var_os("FLASHLLM_EXAMPLES") {
            return Programs { folder: folder.into(), library: None, device: "cuda" };
        }
        let (library, folder) = (scratch("lib"), scratch("programs"));
        link_libraries(&library);
        run(make_examples(&library, &folder).arg("cxx"));
        Programs { folder, library: Some(library), device: "cuda" }
    })
}

/// A folder of this run: the bundle's machine does not have the one that built it.
fn scratch(name: &str) -> PathBuf {
    let folder =
        env::temp_dir().join(format!("flash_llm-examples-{}", std::process::id())).join(name);
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    folder
}
