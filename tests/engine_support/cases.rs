//! The tests themselves: of the programs that the test program has, with files in folders that it makes.

use super::{ft, opt};
use crate::{programs, scratch};

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
