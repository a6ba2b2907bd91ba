"""From a configuration to an engine and what is served with it: files, device, precision, memory.

The only place that knows of checkpoints and of how much memory there is.
"""

import json
import random
from dataclasses import replace
from pathlib import Path

import torch

from triskele.model import (
    ByteTokenizer,
    ModelConfig,
    Transformer,
    load_checkpoint,
    load_end_ids,
    load_tokenizer,
)
from triskele.model.llama_config import from_llama_config
from triskele.serve.cache.named import EVICTIONS
from triskele.serve.chat_template import ChatTemplate
from triskele.serve.engine.batching import Batching
from triskele.serve.engine.config import EngineConfig
from triskele.serve.engine.engine import Engine
from triskele.serve.engine.pages import PagedStore
from triskele.serve.engine.server import Codec, Served

GIB = 1 << 30
CPU_GIB = 1.0
GPU_SHARE = 0.8
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
N_BYTE_IDS = ByteTokenizer().vocab_size
SIZES = {
    "tiny": ModelConfig(
        vocab_size=N_BYTE_IDS, d_model=64, n_layers=2, n_heads=4, n_kv_heads=2, max_seq_len=4096
    ),
    "small": ModelConfig(
        vocab_size=N_BYTE_IDS, d_model=256, n_layers=4, n_heads=8, n_kv_heads=4, max_seq_len=8192
    ),
    "medium": ModelConfig(
        vocab_size=32000, d_model=768, n_layers=12, n_heads=12, n_kv_heads=4, max_seq_len=8192
    ),
    "0.5b": ModelConfig(
        vocab_size=128256,
        d_model=1024,
        n_layers=24,
        n_heads=16,
        n_kv_heads=4,
        d_ff=3584,
        max_seq_len=32768,
    ),
    "1b": ModelConfig(
        vocab_size=128256,
        d_model=2048,
        n_layers=16,
        n_heads=32,
        n_kv_heads=8,
        d_ff=8192,
        max_seq_len=32768,
    ),
}
"""Shapes of models with random weights."""


def assemble(config: EngineConfig) -> tuple[Engine, Served]:
    """Return the engine that a configuration asks for, and what clients see of it.

    Raises
    ------
    ValueError
        When the configuration names what does not exist, or a checkpoint cannot be served.
    """
    if (config.model is None) == (config.random is None):
        raise ValueError("expected either --model or --random")
    if config.eviction not in EVICTIONS:
        raise ValueError(f"expected --eviction {', '.join(EVICTIONS)}; got {config.eviction}")
    device = _device(config.device)
    codec: Codec
    if config.model is not None:
        folder, name = config.model, config.model.resolve().name
        tokenizer = load_tokenizer(folder, reads_special=True)
        model = load_checkpoint(folder)
        codec, template = tokenizer, ChatTemplate.of_folder(folder)
        end_ids = load_end_ids(folder)
        if tokenizer.eos_id is not None:
            end_ids |= {tokenizer.eos_id}
    else:
        assert config.random is not None
        codec, template = ByteTokenizer(), ChatTemplate()
        end_ids, name = frozenset({ByteTokenizer().eos_id}), f"random-{Path(config.random).stem}"
        model = random_model(config.random, seed=config.seed)
    model = model.to(device=device, dtype=_dtype(config.dtype, model, device)).eval()
    n_pages = config.n_pages or _n_pages(config, model)
    engine = Engine.of(
        model,
        codec,
        EVICTIONS[config.eviction](n_pages, random.Random(config.seed)),
        n_pages=n_pages,
        page_size=config.page_size,
        batching=Batching(config.max_batch_tokens, config.max_running),
        end_ids=end_ids,
        rng=random.Random(config.seed),
        tells=config.kv_events is not None,
    )
    served = Served(
        name=config.served_name or name,
        codec=codec,
        template=template,
        page_size=config.page_size,
        n_pages=n_pages,
        max_seq_len=engine.max_tokens,
        max_waiting=config.max_waiting,
    )
    return engine, served


def random_model(size: str, *, seed: int) -> Transformer:
    """Return a model with random weights.

    Parameters
    ----------
    size
        A key of :data:`SIZES`, or the path of a ``config.json``.

    Raises
    ------
    ValueError
        When it is neither.
    """
    path = Path(size)
    if size in SIZES:
        shape = SIZES[size]
    elif path.is_file():
        try:
            shape = from_llama_config(json.loads(path.read_text(encoding="utf-8")))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        shape = replace(shape, vocab_size=max(shape.vocab_size, N_BYTE_IDS))
    else:
        raise ValueError(f"expected --random {', '.join(SIZES)} or a file, got {size}")
    return Transformer(shape, generator=torch.Generator().manual_seed(seed))


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"expected --device cpu, cuda, cuda:N or auto, got {name}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device is {name}, but torch sees no GPU on this machine")
    return device


def _dtype(name: str, model: Transformer, device: torch.device) -> torch.dtype:
    if name == "auto":
        return model.lm_head.weight.dtype if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise ValueError(f"expected --dtype {', '.join(DTYPES)} or auto, got {name}")
    return DTYPES[name]


def _n_pages(config: EngineConfig, model: Transformer) -> int:
    """Return how many pages fit the memory there is."""
    weight = model.lm_head.weight
    if config.memory is not None:
        n_bytes = config.memory * GIB
    elif weight.device.type == "cuda":
        n_bytes = GPU_SHARE * torch.cuda.mem_get_info(weight.device)[0]
    else:
        n_bytes = CPU_GIB * GIB
    per_page = PagedStore.page_bytes(model.config, page_size=config.page_size, dtype=weight.dtype)
    if n_bytes < per_page:
        raise ValueError(f"expected --memory for at least one page of {per_page} bytes")
    return int(n_bytes // per_page)
