"""sparsify() on models of transformers: against the same pruned weights run dense."""

from __future__ import annotations

import copy

import pytest
from conftest import DEVICES, demo_weights

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from flash_llm import FlashLinear, load_sparsified, save_sparsified, sparsify  # noqa: E402

NEW = 64


def config(kind: str):
    common = dict(vocab_size=512, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    llama = dict(
        hidden_size=128, num_hidden_layers=2, intermediate_size=352, num_attention_heads=4, num_key_value_heads=2,
        **common,
    )  # fmt: skip
    if kind == "opt":
        return transformers.OPTConfig(
            hidden_size=128, num_hidden_layers=2, ffn_dim=512, num_attention_heads=4, word_embed_proj_dim=128,
            dropout=0.0, **common,
        )  # fmt: skip
    return {
        "llama": transformers.LlamaConfig,
        "mistral": transformers.MistralConfig,
        "qwen2": transformers.Qwen2Config,
    }[kind](**llama)


def random_model(kind: str, device: str):
    """A model whose layers matter: the usual initialisation is so small that the embedding alone decides."""
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(config(kind)).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "embed" not in name and "lm_head" not in name:
            parameter.data.mul_(3.0)
        elif name.endswith("bias"):
            parameter.data.normal_(0.0, 0.1)
    return model.half().to(device)


def dense_twin(model, sparsified):
    """The model with the weights of the sparsified one, dense."""
    for name, layer in sparsified.named_modules():
        if isinstance(layer, FlashLinear):
            model.get_submodule(name).weight.data.copy_(layer.dense_weight())
    return model


def linears(kind: str) -> int:
    return 2 * (6 if kind == "opt" else 7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["opt", "llama", "mistral", "qwen2"])
@torch.no_grad()
def test_logits_and_greedy_tokens_are_those_of_the_dense_pruned_model(kind, device) -> None:
    model = random_model(kind, device)
    sparse = sparsify(copy.deepcopy(model), 0.7, progress=False)
    layers = [m for m in sparse.modules() if isinstance(m, FlashLinear)]
    assert len(layers) == linears(kind)
    for layer in layers:
        rows, cols = layer.out_features, layer.in_features
        assert layer.matrix.nnz == rows * cols - round(0.7 * rows * cols)
    dense = dense_twin(model, sparse)
    exact = copy.deepcopy(dense).float()
    torch.manual_seed(4)
    ids = torch.randint(3, 512, (8, 20), device=device)

    logits = exact(ids).logits
    def error(m):  # noqa: E306
        return ((m(ids).logits.float() - logits).norm() / logits.norm()).item()

    limit = 2 * error(dense)
    assert 0 < limit < 0.02 and error(sparse) <= limit

    # The dense model continues; the sparse one must choose the same token after each prefix. (Left to themselves, two
    # fp16 models part for good at the first tie.)
    made = dense.generate(ids, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)
    assert made.shape == (8, 20 + NEW)
    both = [m(made).logits[:, 19:-1].float() for m in (dense, sparse)]
    for choice in both:
        choice[..., 2] = -torch.inf  # what min_new_tokens forbids
    chosen = [choice.argmax(-1) for choice in both]
    assert torch.equal(chosen[0], made[:, 20:]) or (chosen[0] == made[:, 20:]).float().mean() > 0.98, "the cache's own"
    assert (chosen[0] == chosen[1]).float().mean().item() >= 0.99

    alone = sparse.generate(ids, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)
    again = sparse.generate(ids, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)
    assert alone.shape == made.shape and torch.equal(alone, again)


@torch.no_grad()
def test_pattern_skip_and_scope_choose() -> None:
    model = random_model("opt", "cpu")
    sparsify(model, 0.5, pattern=r"\.fc", skip=[r"layers\.0\."], scope="row", format="bitmap", progress=False)
    replaced = {name: m for name, m in model.named_modules() if isinstance(m, FlashLinear)}
    assert list(replaced) == ["model.decoder.layers.1.fc1", "model.decoder.layers.1.fc2"]
    for layer in replaced.values():
        assert layer.matrix.format == "bitmap"
        assert ((layer.dense_weight() == 0).sum(dim=1) == round(0.5 * layer.in_features)).all()


def test_progress_is_told() -> None:
    told = []
    sparsify(random_model("opt", "cpu"), 0.5, progress=lambda done, total, name: told.append((done, total, name)))
    assert [done for done, _, _ in told] == list(range(1, 13)) and {total for _, total, _ in told} == {12}


def test_a_model_that_cannot_be_sparsified_is_left_alone() -> None:
    model = random_model("opt", "cpu")
    with pytest.raises(ValueError, match="no linear layer"):
        sparsify(model, 0.5, pattern="nothing")
    with pytest.raises(ValueError, match="sparsity is 1.5"):
        sparsify(model, 1.5)
    with pytest.raises(TypeError, match="float32"):
        sparsify(model.float(), 0.5)
    assert not any(isinstance(m, FlashLinear) for m in model.modules())


@torch.no_grad()
def test_layers_that_share_a_weight_go_on_sharing_it() -> None:
    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Linear(64, 64, dtype=torch.float16)
            self.b = torch.nn.Linear(64, 64, dtype=torch.float16)
            self.b.weight = self.a.weight
            self.c = self.a

    model = sparsify(Twice(), 0.5, progress=False)
    assert model.a.matrix is model.b.matrix and model.c is model.a
    assert not torch.equal(model.a.bias, model.b.bias)


@torch.no_grad()
def test_conv1d_of_gpt2_is_replaced() -> None:
    torch.manual_seed(0)
    gpt2 = transformers.GPT2Config(n_embd=64, n_layer=1, n_head=2, vocab_size=100, n_positions=32)
    model = transformers.AutoModelForCausalLM.from_config(gpt2).half().eval()
    ids = torch.randint(100, (2, 9))
    before = model(ids).logits
    sparsify(model, 0.0, progress=False)
    assert sum(isinstance(m, FlashLinear) for m in model.modules()) == 4
    assert ((model(ids).logits - before).norm() / before.norm()).item() < 5e-3


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["opt", "llama"])
@torch.no_grad()
def test_a_saved_model_is_loaded_as_it_was(kind, device, tmp_path) -> None:
    model = sparsify(random_model(kind, device), 0.7, progress=False)
    path = tmp_path / "model.safetensors"
    save_sparsified(model, path, {"note": "test"})
    fresh = transformers.AutoModelForCausalLM.from_config(config(kind)).half().eval()
    loaded = load_sparsified(fresh, path, device)
    ids = torch.randint(3, 512, (2, 12), device=device)
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    with pytest.raises(ValueError, match="no such layer|unlike the model"):
        load_sparsified(transformers.AutoModelForCausalLM.from_config(config("qwen2")).half(), path)


@torch.no_grad()
def test_a_saved_layer_keeps_its_activation_and_foreign_metadata_means_nothing(tmp_path) -> None:
    def fresh() -> torch.nn.Module:
        return torch.nn.ModuleDict({"a": torch.nn.Linear(64, 32), "b": torch.nn.Linear(32, 16)}).half()

    torch.manual_seed(1)
    model = fresh()
    layer = model["a"]
    model["a"] = FlashLinear.from_dense(layer.weight, layer.bias, activation="relu")
    path = tmp_path / "model.safetensors"
    save_sparsified(model, path, {"note": "a.bias", "weight.flash_llm": "a.weight.flash_llm"})
    loaded = load_sparsified(fresh(), path)
    assert loaded["a"].activation == "relu"
    x = torch.randn(3, 64).half()
    assert torch.equal(loaded["a"](x), model["a"](x)) and (loaded["a"](x) == 0).any()


@pytest.mark.parametrize("device", DEVICES)
@torch.no_grad()
def test_embeddings_of_a_trained_model(device) -> None:
    """MiniLM, which `make demo` fetches: sentences through the pruned model, compressed and dense."""
    file = demo_weights()
    if file is None:
        pytest.skip("the demo's weights are not fetched: scripts/fetch_demo_weights.py target/demo")
    from safetensors.torch import load_file

    state = load_file(file)
    state = {name.removeprefix("bert."): tensor for name, tensor in state.items()}
    vocabulary, hidden = state["embeddings.word_embeddings.weight"].shape
    layers = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.layer."))
    bert = transformers.BertConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=12,
        intermediate_size=state["encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=state["embeddings.position_embeddings.weight"].shape[0],
    )  # fmt: skip
    trained = transformers.BertModel(bert).eval()
    missing, unexpected = trained.load_state_dict(state, strict=False)
    # The positions' numbers are stored by some versions of transformers and not by others.
    assert all(name.startswith("pooler") or "position_ids" in name for name in missing)
    assert all("position_ids" in name for name in unexpected)
    trained = trained.half().to(device)
    torch.manual_seed(5)
    ids = torch.randint(1000, vocabulary, (4, 32), device=device)

    def embed(model):
        vectors = model(ids).last_hidden_state.float().mean(dim=1)
        return torch.nn.functional.normalize(vectors, dim=-1)

    whole = embed(trained)
    likeness = []
    for sparsity in (0.0, 0.5, 0.6, 0.7, 0.8):
        sparse = sparsify(copy.deepcopy(trained), sparsity, skip=["pooler"], progress=False)
        assert sum(isinstance(m, FlashLinear) for m in sparse.modules()) == 6 * layers
        dense = dense_twin(copy.deepcopy(trained), sparse)
        exact = embed(copy.deepcopy(dense).float())
        errors = [((embed(m) - exact).norm() / exact.norm()).item() for m in (dense, sparse)]
        assert errors[1] <= 2 * errors[0], f"at {sparsity}"
        likeness.append((embed(sparse) * whole).sum(-1).mean().item())
    assert likeness[0] > 0.999
    assert likeness == sorted(likeness, reverse=True), f"more pruning takes the embeddings further away: {likeness}"
