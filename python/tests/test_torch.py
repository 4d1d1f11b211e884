"""The PyTorch operator, FlashLinear, and matrices in tensors."""

from __future__ import annotations

import copy
import gc
import io

import numpy as np
import pytest
from conftest import DEVICES, FORMATS, needs_gpu

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import flash_llm  # noqa: E402
from flash_llm import FlashLinear, FlashLLMError, SparseMatrix, ops, prune_magnitude, spmm  # noqa: E402

ACTIVATIONS = {
    "none": lambda v: v,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda v: torch.nn.functional.gelu(v, approximate="tanh"),
    "silu": torch.nn.functional.silu,
}


def integers(*shape: int, device: str = "cpu", zeros: float = 0.6) -> "torch.Tensor":
    generator = torch.Generator().manual_seed(sum(shape))
    values = torch.randint(-3, 4, shape, generator=generator).half()
    values[torch.rand(shape, generator=generator) < zeros] = 0
    return values.to(device)


def linear_of(weight: "torch.Tensor", **arguments) -> FlashLinear:
    return FlashLinear.from_dense(weight, **arguments)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("format", FORMATS)
def test_compressing_gives_the_same_bytes_as_numpy(device, format) -> None:
    dense = integers(130, 257)
    a = SparseMatrix.compress(dense.to(device), format)
    assert a.device.startswith(device)
    assert np.array_equal(a.buffer.cpu().numpy(), SparseMatrix.compress(dense.numpy(), format).buffer)
    assert torch.equal(a.to_dense(), dense.to(device))
    assert torch.equal(SparseMatrix.from_buffer(a.buffer).to_dense(), dense.to(device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("tokens", [1, 3, 8, 16, 33, 64, 200])
@pytest.mark.parametrize("shape", [(96, 64), (130, 257), (512, 1024)])
def test_a_product_of_small_integers_is_exact(device, format, tokens, shape) -> None:
    weight, x = integers(*shape, device=device), integers(tokens, shape[1], device=device, zeros=0.1)
    layer = linear_of(weight, format=format)
    y = layer(x)
    assert y.dtype == torch.float16 and y.shape == (tokens, shape[0])
    assert torch.equal(y.float(), (x.double() @ weight.double().T).half().float())
    assert torch.equal(y, layer(x)), "the same bits again"
    assert torch.equal(spmm(layer.matrix, x.t()), y.t())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_bias_activation_and_residual(device, activation, with_bias, with_residual, dtype) -> None:
    torch.manual_seed(1)
    weight = prune_magnitude(torch.randn(130, 264, dtype=torch.float32).to(dtype), 0.7).to(device)
    x = torch.randn(2, 5, 264).to(dtype).to(device)
    bias = torch.randn(130).to(dtype).to(device) if with_bias else None
    residual = torch.randn(2, 5, 130).to(dtype).to(device) if with_residual else None
    layer = linear_of(weight, bias=bias, activation=activation)
    for _ in range(2):  # the second time from what the first has kept
        y = layer(x, residual)
        exact = x.double() @ weight.double().T
        exact = ACTIVATIONS[activation](exact + bias.double() if with_bias else exact)
        exact = exact + residual.double() if with_residual else exact
        limit = torch.finfo(dtype).eps  # one rounding to nearest is half of that
        assert y.shape == (2, 5, 130)
        assert ((y.double() - exact).norm() / exact.norm()).item() < limit
        residual = None if residual is None else residual + 1


@pytest.mark.parametrize("device", DEVICES)
def test_inputs_that_are_not_contiguous(device) -> None:
    weight = integers(64, 128, device=device)
    layer = linear_of(weight)
    big = integers(40, 300, device=device, zeros=0)
    for x in (big[:, 100:228], big[::2, 1:129], big.t()[:40, :].t()[:, :0].new_zeros(0, 128), big[:1, 3:131],
              big[:128, :40].t()[:, :40].repeat(1, 4)[:, :128], big[5, 7:135], big[:2, :128].expand(2, 128),
              big[:1, :128].expand(7, 128)):  # fmt: skip
        assert torch.equal(layer(x), (x.float() @ weight.float().T).half())


@pytest.mark.parametrize("device", DEVICES)
def test_the_operator_passes_pytorchs_own_checks(device) -> None:
    layer = linear_of(integers(64, 128, device=device), bias=integers(64, device=device))
    x = integers(3, 128, device=device)
    torch.library.opcheck(
        torch.ops.flash_llm.linear.default, (x, layer.compressed, 64, layer.bias, "relu", integers(3, 64, device=device))
    )


@pytest.mark.parametrize("device", DEVICES)
def test_torch_compile_without_graph_breaks(device) -> None:
    weight, x = integers(64, 128, device=device), integers(5, 128, device=device)
    layer = linear_of(weight, bias=integers(64, device=device))

    def f(x):
        return layer(x * 2).relu() + 1

    compiled = torch.compile(f, fullgraph=True)
    assert torch.equal(compiled(x), f(x))
    x = integers(9, 128, device=device)
    assert torch.equal(compiled(x), f(x)), "another batch"


def test_operands_that_do_not_fit_are_refused() -> None:
    layer = linear_of(integers(64, 128), bias=integers(64))
    with pytest.raises(ValueError, match="its last dimension must be 128"):
        layer(integers(3, 127))
    with pytest.raises(TypeError, match="float16 is needed"):
        layer(integers(3, 128).float())
    with pytest.raises(ValueError, match="activation is 'tanh'"):
        ops.linear(integers(3, 128), layer.compressed, 64, None, "tanh")
    with pytest.raises(ValueError, match="rows is 63"):
        ops.linear(integers(3, 128), layer.compressed, 63)
    with pytest.raises(ValueError, match="residual has shape"):
        layer(integers(3, 128), integers(3, 63))
    with pytest.raises(ValueError, match="bias has shape"):
        FlashLinear(layer.matrix, integers(63))
    with pytest.raises(FlashLLMError):
        ops.linear(integers(3, 128), torch.zeros(512, dtype=torch.uint8), 64)


def test_bytes_that_nobody_adopted_are_checked_and_used() -> None:
    weight, x = integers(64, 128), integers(3, 128)
    buffer = linear_of(weight).compressed.clone()
    gc.collect()
    assert torch.equal(ops.linear(x, buffer, 64), (x.float() @ weight.float().T).half())


def test_an_address_that_is_used_again_does_not_give_an_old_matrix() -> None:
    """Buffers of one size, made and dropped in turn, come to lie at the same address."""
    x = integers(3, 128)
    for number in range(20):
        weight = torch.zeros(64, 128, dtype=torch.float16)
        weight.view(-1)[number::64] = number + 1
        layer = linear_of(weight, format="bitmap")
        assert torch.equal(layer(x), (x.float() @ weight.float().T).half())
        del layer
        gc.collect()


def test_state_dict_round_trip() -> None:
    one = torch.nn.Sequential(linear_of(integers(64, 128), bias=integers(64)), torch.nn.ReLU())
    two = torch.nn.Sequential(linear_of(integers(64, 128, zeros=0.9), bias=integers(64) + 1), torch.nn.ReLU())
    assert set(one.state_dict()) == {"0.weight.flash_llm", "0.bias"}
    x = integers(3, 128)
    assert not torch.equal(one(x), two(x))
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(x), two(x))
    assert two[0].compressed.data_ptr() != one[0].compressed.data_ptr()
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    two.load_state_dict(torch.load(file))
    assert torch.equal(one(x), two(x))
    with pytest.raises(RuntimeError, match="0.weight.flash_llm"):
        two.load_state_dict({"0.bias": integers(64)})
    with pytest.raises(RuntimeError, match="64 x 130, the layer is 64 x 128"):
        two.load_state_dict({**one.state_dict(), "0.weight.flash_llm": linear_of(integers(64, 130)).compressed})
    with pytest.raises(RuntimeError, match="CORRUPT_DATA"):
        two.load_state_dict({**one.state_dict(), "0.weight.flash_llm": torch.zeros(512, dtype=torch.uint8)})
    assert torch.equal(one(x), two(x)), "a refused state changes nothing"


def test_copies_and_pickles_work(monkeypatch) -> None:
    layer, x = linear_of(integers(64, 128), bias=integers(64)), integers(3, 128)
    expected = layer(x)
    twin = copy.deepcopy(layer)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    read = torch.load(file, weights_only=False)
    del layer
    gc.collect()
    # They know their bytes, wherever those lie in memory: nothing is checked again.
    monkeypatch.setattr(SparseMatrix, "from_buffer", lambda *_: pytest.fail("the bytes are checked again"))
    assert torch.equal(twin(x), expected) and torch.equal(read(x), expected)
    assert torch.equal(read.dense_weight(), integers(64, 128))


def test_half_and_requires_grad_leave_the_bytes_alone() -> None:
    layer = linear_of(integers(64, 128))
    before = layer.compressed.clone()
    layer.half().eval().requires_grad_(False)
    assert torch.equal(layer.compressed, before)
    with pytest.raises(TypeError, match="numpy array"):
        FlashLinear(SparseMatrix.compress(np.ones((4, 4), np.float16)))


@pytest.mark.parametrize("device", DEVICES)
def test_pruning_drops_exactly_the_smallest_ties_by_index(device) -> None:
    weight = torch.tensor([[3, -1, 1, 0.5], [-1, 2, 1, -4]], dtype=torch.float16, device=device)
    assert prune_magnitude(weight, 3 / 8).tolist() == [[3, 0, 0, 0], [-1, 2, 1, -4]]
    assert prune_magnitude(weight, 0.5).tolist() == [[3, 0, 0, 0], [0, 2, 1, -4]]
    assert prune_magnitude(weight, 0.5, "row").tolist() == [[3, 0, 1, 0], [0, 2, 0, -4]]
    assert prune_magnitude(weight, 0.0).equal(weight) and not prune_magnitude(weight, 1.0).any()
    torch.manual_seed(0)
    for dtype in (torch.float16, torch.bfloat16):
        big = torch.randn(333, 1000, device=device).to(dtype)
        for sparsity in (0.1, 0.6, 0.8, 0.999):
            whole, rows = prune_magnitude(big, sparsity), prune_magnitude(big, sparsity, "row")
            assert int((whole == 0).sum()) == int(big.numel() * sparsity + 0.5)
            assert ((rows == 0).sum(dim=1) == int(1000 * sparsity + 0.5)).all()
            kept = whole != 0
            assert torch.equal(whole[kept], big[kept])
            assert big[kept].abs().min() >= big[~kept].abs().max()
    copied = big.clone()
    assert prune_magnitude(copied, 0.5, inplace=True) is copied and int((copied == 0).sum()) == copied.numel() // 2
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="sparsity"):
            prune_magnitude(big, bad)
    with pytest.raises(TypeError, match="float32"):
        prune_magnitude(big.float(), 0.5)


def test_matrices_move_between_libraries() -> None:
    dense = integers(64, 128)
    a = SparseMatrix.compress(dense)
    assert np.array_equal(a.numpy().to_dense(), dense.numpy())
    assert torch.equal(SparseMatrix.compress(dense.numpy()).to("cpu").to_dense(), dense)
    with pytest.raises(TypeError, match="both numpy or both PyTorch"):
        spmm(a, integers(128, 2), out=np.empty((64, 2), np.float16))


# ------------------------------------------------------------------------------------------------------ GPU only


@needs_gpu
def test_work_goes_to_the_current_stream() -> None:
    layer, x = linear_of(integers(512, 1024, device="cuda")), integers(8, 1024, device="cuda")
    expected = layer(x)
    stream = torch.cuda.Stream()
    late = torch.zeros_like(x)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)
        late.copy_(x)
        y = layer(late)
    # The default stream neither waits for it nor is used by it.
    assert not stream.query()
    stream.synchronize()
    assert torch.equal(y, expected)


@needs_gpu
def test_a_cuda_graph_replays_with_new_activations() -> None:
    weight = integers(512, 1024, device="cuda")
    layer = linear_of(weight, bias=integers(512, device="cuda"), activation="relu")
    x = torch.zeros(16, 1024, dtype=torch.float16, device="cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        layer(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = layer(x)
    for number in range(5):
        x.copy_(integers(16, 1024, device="cuda", zeros=0.1 * number))
        graph.replay()
        assert torch.equal(y, (x.float() @ weight.float().T + layer.bias.float()).relu().half())


@needs_gpu
def test_compile_with_cuda_graphs() -> None:
    weight = integers(512, 1024, device="cuda")
    layer = linear_of(weight)
    compiled = torch.compile(lambda x: layer(x) + 1, mode="reduce-overhead", fullgraph=True)
    with torch.no_grad():
        for number in range(4):
            x = integers(16, 1024, device="cuda", zeros=0.1 * number)
            assert torch.equal(compiled(x).clone(), (x.float() @ weight.float().T).half() + 1)


@needs_gpu
def test_unknown_bytes_are_refused_in_a_capture() -> None:
    layer, x = linear_of(integers(64, 128, device="cuda")), integers(8, 128, device="cuda")
    unknown = layer.compressed.clone()
    layer(x)
    torch.cuda.synchronize()
    with pytest.raises(RuntimeError, match="run the model once before the capture"):
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            ops.linear(x, unknown, 64)


@needs_gpu
def test_a_module_moves_to_the_gpu_and_back() -> None:
    weight, x = integers(64, 128), integers(3, 128)
    layer = linear_of(weight, bias=integers(64))
    expected = layer(x)
    layer.cuda()
    assert layer.compressed.is_cuda and layer.matrix.device.startswith("cuda")
    assert torch.equal(layer(x.cuda()).cpu(), expected)
    with pytest.raises(ValueError, match="x is on cpu"):
        ops._linear(x, layer.compressed, 64)
    assert torch.equal(layer.cpu()(x), expected)


@needs_gpu
def test_outputs_are_written_and_nothing_beside_them() -> None:
    weight, x = integers(130, 256, device="cuda"), integers(5, 256, device="cuda")
    matrix = SparseMatrix.compress(weight)
    canary = torch.full((5 + 2, 200), float("nan"), dtype=torch.float16, device="cuda")
    out = canary[1:6, 10:140]
    spmm(matrix, x.t(), out=out.t())
    assert torch.equal(out, (x.float() @ weight.float().T).half())
    canary[1:6, 10:140] = float("nan")
    assert canary.isnan().all()


@needs_gpu
def test_two_devices_in_one_process() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one CUDA device")
    weight, x = integers(130, 256), integers(5, 256)
    results = [linear_of(weight.to(d))(x.to(d)).cpu() for d in ("cuda:0", "cuda:1", "cuda:0")]
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
    assert torch.cuda.current_device() == 0


def test_the_package_names_what_it_exports() -> None:
    for name in flash_llm.__all__:
        assert getattr(flash_llm, name) is not None
