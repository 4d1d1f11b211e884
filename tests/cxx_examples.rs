//! The C++ examples on the host: compiled with every warning an error, and run on small real data that is
//! written here and computed again in double precision. Needs c++ and make.

mod build_support;
mod engine_support;
mod support;

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use build_support::{build_dir, root, run, scratch};
use engine_support::{Programs, ft, opt};

/// Builds the programs once; without nvcc, which only the GPU needs.
fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let library = scratch("cxx-examples-lib");
        for name in ["libflash_llm.so".to_owned(), soname()] {
            symlink(build_dir().join("libflash_llm.so"), library.join(name))
                .expect("a link can be made");
        }
        let folder = scratch("cxx-examples");
        let mut make = Command::new("make");
        make.arg("--no-print-directory").arg("-C").arg(root().join("c-examples"));
        make.args(["cxx", "NVCC="]).arg(format!("BUILD={}", folder.display()));
        make.arg(format!("PREFIX_INC={}", root().join("include").display()));
        make.arg(format!("LIBDIR={}", library.display()));
        make.env_remove("MAKEFLAGS").env_remove("MFLAGS");
        run(&mut make);
        Programs { folder, library: Some(library), device: "host" }
    })
}

fn soname() -> String {
    let mut version = env!("CARGO_PKG_VERSION").split('.');
    let (major, minor) = (version.next().unwrap_or_default(), version.next().unwrap_or_default());
    format!(
        "libflash_llm.so.{}",
        if major == "0" { format!("0.{minor}") } else { major.to_owned() }
    )
}

fn opt_files(test: &str) -> opt::Files {
    let folder: PathBuf = scratch(&format!("opt-{test}"));
    opt::Files::write(&folder)
}

#[test]
fn opt_decoder_agrees_with_a_reference_in_double_precision() {
    opt::agrees_with_the_reference(programs(), &opt_files("reference"), &[]);
    opt::agrees_with_the_reference(programs(), &opt_files("reference-dense"), &["--dense"]);
}

#[test]
fn opt_decoder_generates_the_same_tokens_dense_and_sparse() {
    opt::dense_and_sparse_generate_the_same(programs(), &opt_files("same"));
}

#[test]
fn opt_decoder_refuses_what_it_cannot_use_with_a_sentence() {
    opt::refuses(programs(), &opt_files("refuse"));
}

#[test]
fn ft_convert_keeps_every_element_of_non_square_matrices_on_every_rank() {
    ft::every_element_is_kept(programs(), &scratch("ft-elements"));
}

#[test]
fn ft_call_sites_multiply_what_the_ranks_have_together() {
    ft::call_sites_multiply_what_the_ranks_have_together(programs(), &scratch("ft-calls"));
}

#[test]
fn ft_wrapper_is_exact_in_every_call_and_refuses_what_does_not_fit() {
    ft::every_call_is_exact(programs());
}

#[test]
fn ft_convert_refuses_what_it_cannot_use_and_leaves_nothing_behind() {
    ft::refuses(programs(), &scratch("ft-refuse"));
}
