//! The C++ examples on the host: compiled with every warning an error, and run on small real data that is
//! written here and computed again in double precision. Needs c++ and make.

mod build_support;
mod engine_support;
mod support;

use std::path::PathBuf;
use std::sync::OnceLock;

use build_support::{link_libraries, make_examples, run};
use engine_support::Programs;

/// Builds the programs once; without nvcc, which only the GPU needs.
fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let (library, folder) = (scratch("lib"), scratch("programs"));
        link_libraries(&library);
        run(make_examples(&library, &folder).args(["cxx", "NVCC="]));
        Programs { folder, library: Some(library), device: "host" }
    })
}

fn scratch(name: &str) -> PathBuf {
    build_support::scratch(&format!("cxx-examples-{name}"))
}
