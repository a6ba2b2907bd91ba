"""A few votes on prompts of three kinds, in each of which another model is best."""

import json
from pathlib import Path

import numpy as np

from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.options import ScoreOptions
from triskele.evaluate.sources import Source, read_source

MODELS = ("ada", "bob", "cy", "dan")
WORDS = {
    "sums": ("add", "subtract", "divide", "fraction", "percent", "total"),
    "verse": ("poem", "rhyme", "sonnet", "limerick", "stanza", "ballad"),
    "soup": ("recipe", "onion", "simmer", "broth", "garlic", "ladle"),
}
TALENT = {"sums": "bob", "verse": "cy", "soup": "dan"}
STRENGTH = {"ada": 0.8, "bob": 0.2, "cy": -0.2, "dan": -0.8}


def write_votes_of_kinds(
    path: Path, *, n: int = 120, per_query: int = 6, talent: float = 3.0, seed: int = 0
) -> Path:
    """Write votes as LMArena has them; without talent, queries do not differ."""
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(n):
        kind = list(WORDS)[number % len(WORDS)]
        text = " ".join(rng.choice(WORDS[kind], 4)) + f" please {number}"
        strength = {m: s + talent * (TALENT[kind] == m) for m, s in STRENGTH.items()}
        for _ in range(per_query):
            a, b = map(str, rng.choice(MODELS, 2, replace=False))
            p = 1 / (1 + np.exp(strength[a] - strength[b]))
            winner = "model_b" if rng.random() < p else "model_a"
            if rng.random() < 0.05:
                winner = "tie"
            vote = {"model_a": a, "model_b": b, "winner": winner}
            lines.append(json.dumps({"question_id": f"q{number}", "prompt": text, **vote}))
    path.write_text("\n".join(lines) + "\n")
    return path


def source_of_kinds(folder: Path, *, n: int = 120, talent: float = 3.0) -> Source:
    path = write_votes_of_kinds(folder / "votes.jsonl", n=n, talent=talent)
    return read_source(path, options=ScoreOptions(), seed=0)


def with_texts(source: Source, texts: tuple[str, ...]) -> Source:
    """Return a source whose queries read differently."""
    return Source(
        name=source.name,
        ids=source.ids,
        texts=texts,
        comparisons=source.comparisons,
        embeddings=source.embeddings,
        is_sampled=source.is_sampled,
    )


def few_comparisons() -> Comparisons:
    """Return three comparisons of three models on two queries."""
    return Comparisons.from_arrays(
        [0, 0, 1], [0, 1, 0], [1, 2, 2], [1.0, 0.5, 0.0], models=("x", "y", "z")
    )
