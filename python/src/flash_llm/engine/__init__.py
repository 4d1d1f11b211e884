"""A small inference engine for OPT and Llama models, dense or compressed by one switch.

    from flash_llm import engine

    config = engine.PRESETS["opt-1.3b"]
    weights = engine.random_weights(config, sparsity=0.8, device="cuda")
    e = engine.Engine(weights, batch=8, max_len=576)
    new = e.generate(torch.randint(config.vocab, (8, 64)), new_tokens=512)

`weights_of` takes the weights of a transformers model. Tensor parallel: start one process a device with
torch.distributed initialised and a device chosen, and do the same in each. `python -m flash_llm.engine.bench` measures.
"""

from .config import PRESETS, ModelConfig
from .model import Engine, Sampling
from .parallel import Group
from .weights import Weights, config_of, random_weights, weights_of

__all__ = [
    "PRESETS",
    "Engine",
    "Group",
    "ModelConfig",
    "Sampling",
    "Weights",
    "config_of",
    "random_weights",
    "weights_of",
]
