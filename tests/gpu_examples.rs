//! The C++ examples on the GPU: the checks of tests/cxx_examples.rs with `--device cuda`. Fails where there
//! is no GPU or no cuBLAS. The programs are those of the bundle (`FLASHLLM_EXAMPLES`), or are built here.

mod build_support;
mod engine_support;
mod support;

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use build_support::{build_dir, root, run};
use engine_support::{Programs, ft, opt};

fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        if let Some(folder) = env::var_os("FLASHLLM_EXAMPLES") {
            return Programs { folder: folder.into(), library: None, device: "cuda" };
        }
        let folder = scratch("programs");
        let mut make = Command::new("make");
        make.arg("--no-print-directory").arg("-C").arg(root().join("c-examples")).arg("cxx");
        make.arg(format!("BUILD={}", folder.display()));
        make.arg(format!("PREFIX_INC={}", root().join("include").display()));
        make.arg(format!("LIBDIR={}", build_dir().display()));
        make.env_remove("MAKEFLAGS").env_remove("MFLAGS");
        run(&mut make);
        Programs { folder, library: Some(build_dir()), device: "cuda" }
    })
}

/// A folder of this run: the bundle's machine does not have the one that built it.
fn scratch(name: &str) -> PathBuf {
    let folder =
        env::temp_dir().join(format!("flash_llm-examples-{}", std::process::id())).join(name);
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    folder
}

#[test]
fn opt_decoder_agrees_with_a_reference_in_double_precision() {
    opt::agrees_with_the_reference(programs(), &opt::Files::write(&scratch("opt")), &[]);
    opt::agrees_with_the_reference(
        programs(),
        &opt::Files::write(&scratch("opt-dense")),
        &["--dense"],
    );
}

#[test]
fn opt_decoder_generates_the_same_tokens_dense_and_sparse() {
    opt::dense_and_sparse_generate_the_same(programs(), &opt::Files::write(&scratch("opt-same")));
}

#[test]
fn opt_decoder_refuses_what_it_cannot_use_with_a_sentence() {
    opt::refuses(programs(), &opt::Files::write(&scratch("opt-refuse")));
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
