"""A small inference engine: paged keys and values, continuous batching, a shared prefix cache.

>>> engine = Engine.of(model, tokenizer, least_recently_used(), n_pages=512, rng=random.Random(0))
>>> engine.add("hello", tokenizer.encode("Once upon a time"), SamplingParams(max_tokens=32))
>>> print("".join(piece.text for piece in engine.step()), end="")
"""

from triskele.serve.engine.batching import Batching, Tally
from triskele.serve.engine.engine import Engine, Piece, TooLong
from triskele.serve.engine.sampler import Logprobs
from triskele.serve.engine.sampling import SamplingParams
from triskele.serve.engine.stream import TextStream

__all__ = [
    "Batching",
    "Engine",
    "Logprobs",
    "Piece",
    "SamplingParams",
    "Tally",
    "TextStream",
    "TooLong",
]
