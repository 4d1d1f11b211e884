"""SparseMatrix and spmm() on numpy arrays, without PyTorch and without a GPU."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from conftest import FORMATS, integers, pruned

from flash_llm import FlashLLMError, SparseMatrix, spmm


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", [(1, 1), (17, 31), (128, 256), (300, 513)])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.8, 1.0])
def test_decompressing_gives_the_matrix_back(rng, format, shape, sparsity) -> None:
    dense = pruned(rng, *shape, sparsity)
    a = SparseMatrix.compress(dense, format)
    assert a.shape == shape and a.format == format and a.dtype == "float16" and a.device == "cpu"
    assert a.nnz == np.count_nonzero(dense)
    assert a.nbytes == len(a.buffer)
    assert np.array_equal(a.to_dense(), dense)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("n", [1, 7, 16, 65])
@pytest.mark.parametrize("b_order", "CF")
@pytest.mark.parametrize("c_order", "CF")
def test_a_product_of_small_integers_is_exact(rng, format, n, b_order, c_order) -> None:
    dense = integers(rng, 130, 257, 0.7)
    b = np.asarray(integers(rng, 257, n, 0.1), order=b_order)
    out = np.full((130, n), np.nan, np.float32, order=c_order)
    c = spmm(SparseMatrix.compress(dense, format), b, out=out)
    assert c is out
    assert np.array_equal(c, dense.astype(np.float32) @ b.astype(np.float32))


def test_a_product_has_the_type_that_is_asked_for(rng) -> None:
    dense, b = pruned(rng, 64, 256, 0.8), pruned(rng, 256, 4, 0)
    a = SparseMatrix.compress(dense)
    exact = dense.astype(np.float64) @ b.astype(np.float64)
    assert (a @ b).dtype == np.float16
    wide = spmm(a, b, out_dtype="float32")
    assert wide.dtype == np.float32
    assert np.abs(wide - exact).max() < 1e-5
    with pytest.raises(TypeError, match="out_dtype is 'float64'"):
        spmm(a, b, out_dtype="float64")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("out_dtype", [None, "float32"])
def test_a_product_that_was_searched_is_the_same(rng, format, out_dtype) -> None:
    dense, b = integers(rng, 130, 257, 0.7), integers(rng, 257, 5, 0.1)
    a = SparseMatrix.compress(dense, format)
    before = spmm(a, b, out_dtype=out_dtype)
    for ways in (0, 1, 7):
        assert a.search(b, out_dtype=out_dtype, ways=ways) == 0.0  # the host has one way
        assert np.array_equal(spmm(a, b, out_dtype=out_dtype), before)
    found = a.choice(5, out_dtype=out_dtype)
    assert found == (1, 1)  # the algorithm of the host, in one piece
    assert a.choice(6, out_dtype=out_dtype) is None
    other = SparseMatrix.compress(dense, format)
    assert other.choice(5, out_dtype=out_dtype) is None
    other.choose(5, found, out_dtype=out_dtype)
    assert other.choice(5, out_dtype=out_dtype) == found
    assert np.array_equal(spmm(other, b, out_dtype=out_dtype), before)
    for impossible in ((30114, 1), (7, 1), (1, -1)):
        with pytest.raises(FlashLLMError):
            other.choose(5, impossible, out_dtype=out_dtype)
    assert other.choice(5, out_dtype=out_dtype) == found
    twice = spmm(a, b, out=before.copy(), beta=1.0)
    assert np.array_equal(twice, 2 * before)
    assert a.estimates(5, out_dtype=out_dtype) == (None, None)  # of a device, not of the host
    assert a.search(np.empty((257, 0), np.float16)) == 0.0
    with pytest.raises(FlashLLMError, match="ways = -1 is negative"):
        a.search(b, ways=-1)
    with pytest.raises(ValueError, match=r"\(257, N\) is needed"):
        a.search(dense)
    with pytest.raises(TypeError, match="out_dtype is 'float64'"):
        a.search(b, out_dtype="float64")


def test_alpha_and_beta(rng) -> None:
    dense, b, c = integers(rng, 40, 64, 0.5), integers(rng, 64, 3, 0), integers(rng, 40, 3, 0)
    expected = 2 * (dense @ b) - 0.5 * c
    spmm(SparseMatrix.compress(dense), b, out=c, alpha=2.0, beta=-0.5)
    assert np.array_equal(c, expected)
    with pytest.raises(ValueError, match="beta is 1.0 and there is no out"):
        spmm(SparseMatrix.compress(dense), b, beta=1.0)


def test_a_vector_gives_a_vector(rng) -> None:
    dense, x = integers(rng, 50, 70, 0.5), integers(rng, 70, 1, 0)[:, 0]
    assert np.array_equal(SparseMatrix.compress(dense) @ x, dense @ x)


def test_no_columns_give_no_columns(rng) -> None:
    a = SparseMatrix.compress(integers(rng, 50, 70, 0.5))
    assert (a @ np.empty((70, 0), np.float16)).shape == (50, 0)


def test_slices_and_views_are_read_where_they_are_or_copied(rng) -> None:
    big = integers(rng, 200, 300, 0.5)
    for view in (big[3:60, 5:100], big.T[3:60, 5:100], big[::2, ::3], big[::-1]):
        assert np.array_equal(SparseMatrix.compress(view).to_dense(), view)
    a, b = SparseMatrix.compress(big[:100]), integers(rng, 900, 8, 0)[::3]
    assert np.array_equal(a @ b, big[:100].astype(np.float32) @ b.astype(np.float32))


def test_auto_chooses_by_preference(rng) -> None:
    dense = pruned(rng, 512, 1024, 0.8)
    assert SparseMatrix.compress(dense).format == "slots"
    assert SparseMatrix.compress(dense, prefer="columns").format == "banked"
    assert SparseMatrix.compress(dense, prefer="few_columns").format == "slots"
    assert SparseMatrix.compress(pruned(rng, 512, 1024, 0.95), prefer="few_columns").format == "sell"
    half = pruned(rng, 512, 1024, 0.5)
    small = SparseMatrix.compress(half, prefer="size")
    assert small.nbytes == min(SparseMatrix.compress(half, f).nbytes for f in FORMATS)


def test_sparsity_and_repr_tell_what_it_is(rng) -> None:
    dense = np.zeros((10, 100), np.float16)
    dense[:, :20] = 1
    a = SparseMatrix.compress(dense, "bitmap")
    assert a.sparsity == pytest.approx(0.8)
    assert repr(a).startswith("SparseMatrix(10x100, float16, bitmap, sparsity=0.8000")


def test_a_buffer_is_adopted_at_any_alignment(rng) -> None:
    dense = pruned(rng, 60, 90, 0.6)
    buffer = SparseMatrix.compress(dense).buffer
    for shift in (0, 1, 255):
        moved = np.empty(len(buffer) + 512, np.uint8)[shift : shift + len(buffer)]
        moved[:] = buffer
        assert np.array_equal(SparseMatrix.from_buffer(moved).to_dense(), dense)


@pytest.mark.parametrize("format", FORMATS)
def test_a_damaged_buffer_is_refused_or_means_another_matrix(rng, format) -> None:
    buffer = SparseMatrix.compress(pruned(rng, 60, 90, 0.6), format).buffer
    for at in [*range(0, 104, 3), *rng.integers(0, len(buffer), 40)]:
        bad = buffer.copy()
        bad[at] ^= 1 << int(rng.integers(8))
        try:
            SparseMatrix.from_buffer(bad).to_dense()
        except FlashLLMError as error:
            assert str(error)
    for cut in (0, 47, 48, 255, 256, len(buffer) - 1):
        with pytest.raises(FlashLLMError):
            SparseMatrix.from_buffer(buffer[:cut])


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: SparseMatrix(), TypeError, "use SparseMatrix.compress"),
        (lambda: SparseMatrix.compress(np.ones((3, 3))), TypeError, "float64"),
        (lambda: SparseMatrix.compress(np.ones((3, 3), np.float32)), TypeError, "convert it"),
        (lambda: SparseMatrix.compress(np.ones(3, np.float16)), ValueError, r"shape \(3,\)"),
        (lambda: SparseMatrix.compress(np.ones((0, 3), np.float16)), ValueError, r"shape \(0, 3\)"),
        (lambda: SparseMatrix.compress(np.ones((3, 3), np.float16), "csr"), ValueError, "format is 'csr'"),
        (lambda: SparseMatrix.compress(np.ones((3, 3), np.float16), prefer="fun"), ValueError, "prefer is 'fun'"),
        (lambda: SparseMatrix.from_buffer(np.zeros(512, np.int8)), TypeError, "int8"),
        (lambda: SparseMatrix.from_buffer(np.zeros((2, 512), np.uint8)), TypeError, "2 dimensions"),
    ],
)
def test_what_cannot_be_a_matrix_is_refused(make, error, sentence) -> None:
    with pytest.raises(error, match=sentence):
        make()


def test_operands_that_do_not_fit_are_refused(rng) -> None:
    a, b = SparseMatrix.compress(integers(rng, 8, 16, 0.5)), integers(rng, 16, 2, 0)
    with pytest.raises(ValueError, match=r"b has shape \(15, 2\): \(16, N\) is needed"):
        a @ b[:15]
    with pytest.raises(TypeError, match="b is float32: float16 is needed"):
        a @ b.astype(np.float32)
    with pytest.raises(ValueError, match=r"out has shape \(8, 3\)"):
        spmm(a, b, out=np.empty((8, 3), np.float16))
    with pytest.raises(TypeError, match="out is float64"):
        spmm(a, b, out=np.empty((8, 2)))
    frozen = np.empty((8, 2), np.float16)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        spmm(a, b, out=frozen)
    with pytest.raises(ValueError, match="neither contiguous"):
        spmm(a, b, out=np.empty((16, 4), np.float16)[::2, ::2])
    with pytest.raises(FlashLLMError, match="overlap"):
        shared = np.zeros((16, 2), np.float16)
        spmm(a, shared, out=shared[:8])


def test_one_matrix_serves_many_threads(rng) -> None:
    dense, b = integers(rng, 200, 300, 0.6), integers(rng, 300, 9, 0)
    a, expected = SparseMatrix.compress(dense), dense.astype(np.float32) @ b.astype(np.float32)
    wrong = []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(a @ b, expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_bfloat16_goes_through_ml_dtypes(rng) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes", reason="numpy's bfloat16, ml_dtypes, is not installed").bfloat16
    dense = integers(rng, 40, 64, 0.5).astype(bfloat16)
    a = SparseMatrix.compress(dense)
    assert a.dtype == "bfloat16" and np.array_equal(a.to_dense(), dense)
