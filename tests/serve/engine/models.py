"""Tiny models whose greedy answers are known from uncached, unbatched forward passes."""

import functools
import random
from collections.abc import Sequence

import torch

from triskele.model import ByteTokenizer, ModelConfig, Transformer
from triskele.serve.cache import EvictionPolicy, least_recently_used
from triskele.serve.engine import Batching, Engine, Piece

CONFIG = ModelConfig(
    vocab_size=257, d_model=16, n_layers=2, n_heads=4, n_kv_heads=2, max_seq_len=64
)


@functools.cache
def tiny_model(config: ModelConfig = CONFIG) -> Transformer:
    """Double precision and large weights: no two logits are nearly equal."""
    model = Transformer(config, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return model


def tiny_engine(
    policy: EvictionPolicy | None = None,
    *,
    n_pages: int = 64,
    page_size: int = 4,
    batching: Batching | None = None,
    end_ids: frozenset[int] = frozenset(),
    config: ModelConfig = CONFIG,
    tells: bool = False,
) -> Engine:
    return Engine.of(
        tiny_model(config),
        ByteTokenizer(),
        policy or least_recently_used(),
        n_pages=n_pages,
        page_size=page_size,
        batching=batching or Batching(n_tokens=16, n_running=4),
        end_ids=end_ids,
        rng=random.Random(0),
        tells=tells,
    )


@functools.cache
def likeliest(tokens: tuple[int, ...], config: ModelConfig = CONFIG) -> int:
    """Return the next token by a forward pass over the whole sequence alone."""
    with torch.no_grad():
        logits = tiny_model(config)(torch.tensor([tokens]))[0, -1]
    best, second = logits.topk(2).values.tolist()
    assert best - second > 1e-9, "a near-tie would make any comparison a matter of luck"
    return int(logits.argmax())


def greedy(prompt: Sequence[int], n_tokens: int, config: ModelConfig = CONFIG) -> list[int]:
    """Return what the oracle says: one uncached, unbatched forward pass per token."""
    tokens = tuple(prompt)
    for _ in range(n_tokens):
        tokens = (*tokens, likeliest(tokens, config))
    return list(tokens[len(prompt) :])


def drain(engine: Engine) -> dict[str, list[Piece]]:
    """Step until nothing is left; returns the pieces of every answer."""
    pieces: dict[str, list[Piece]] = {}
    while engine.n_running or engine.n_waiting:
        for piece in engine.step():
            pieces.setdefault(piece.id, []).append(piece)
        engine.check()
    return pieces


def assert_nothing_is_held(engine: Engine) -> None:
    """After the last answer, every page is in the tree or free."""
    assert (engine.cache.n_reserved, engine.cache.n_pinned) == (0, 0)
    assert engine.cache.n_free + engine.cache.n_pages == engine.cache.capacity
    engine.check()
