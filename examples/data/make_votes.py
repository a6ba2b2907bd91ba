"""Make the votes of ``votes.jsonl``: eight models that do not exist, on prompts of five kinds.

Each model has a general strength and talents for some kinds; a vote follows Bradley and Terry's
model, ties included. Run from anywhere: ``python examples/data/make_votes.py``.
"""

import json
from pathlib import Path

import numpy as np

SEED, PER_KIND, PER_PROMPT = 7, 96, 4
TIE_SHARE = 0.12
"""Of votes between equals; fewer of votes between unequals."""

MODELS = ("heron", "kestrel", "lapwing", "magpie", "nightjar", "osprey", "plover", "wren")
STRENGTH = (1.2, 0.9, 0.6, 0.3, 0.0, -0.3, -0.9, -1.4)
TALENTS = {
    "arithmetic": {"osprey": 2.6, "lapwing": 0.8, "heron": -1.2, "kestrel": -0.8},
    "code": {"kestrel": 2.2, "plover": 1.2, "osprey": -0.8, "magpie": -0.8},
    "translation": {"magpie": 2.4, "nightjar": 0.8, "kestrel": -1.2},
    "facts": {"heron": 1.2, "plover": 1.2, "magpie": -1.0, "osprey": -1.0},
    "style": {"nightjar": 2.4, "wren": 2.0, "osprey": -1.2, "kestrel": -0.8},
}
TEMPLATES = {
    "arithmetic": (
        "Calculate {n} percent of {m}.",
        "Calculate {n} times {m} plus {k}, and show each step.",
        "Calculate x from {k}x + {n} = {m}, as an exact fraction.",
        "Calculate the speed of a train that covers {m} km in {n} minutes.",
        "Calculate the price of a shirt of {m} euros less {k} percent, plus {n} percent tax.",
    ),
    "code": (
        "Write a {tool} function that {task}.",
        "Write a SQL query that {task}.",
        "Write a unit test for a {tool} function that {task}.",
        "My {tool} function that {task} fails. Why?",
        "Refactor a {tool} loop that {task}.",
    ),
    "translation": (
        "Translate into {language}: {sentence}",
        "How do you say in {language}: {sentence}",
        "Translate into polite {language}: {sentence}",
        "Translate idiomatically into {language}: {sentence}",
    ),
    "facts": (
        "What is the capital of {country}, and on which river or coast does it lie?",
        "Which countries border {country}?",
        "When did {country} become independent, and from whom?",
        "What is the highest mountain of {country}, and how high is it?",
        "Which languages are official in {country}?",
    ),
    "style": (
        "Rewrite this more warmly, as a note to {person}: {note}",
        "Write a limerick for {person} about {topic}.",
        "Write a short toast to {person} that mentions {topic}.",
        "Write a witty postcard to {person} about {topic}.",
    ),
}
WORDS = {
    "task": (
        "reverses the words of a string",
        "finds duplicate rows by email address",
        "merges two sorted lists",
        "counts the orders of each customer by month",
        "parses dates in several formats",
        "returns the longest common prefix of strings",
        "removes nested brackets from a string",
        "caches the results of an expensive call",
        "groups log lines by error code",
        "validates an array of phone numbers",
        "flattens a nested dictionary",
        "finds the shortest path in a grid",
    ),
    "tool": ("Python", "JavaScript", "Rust", "Java", "Go"),
    "language": ("German", "Spanish", "French", "Italian", "Portuguese", "Polish", "Dutch"),
    "sentence": (
        "Where can I buy a ticket for the night train?",
        "The bakery around the corner opens at six.",
        "I would have called you if I had known.",
        "My grandmother still writes letters by hand.",
        "Please leave your shoes at the door.",
        "It looks as if it might rain this afternoon.",
        "We missed the last ferry to the island.",
        "Could you speak a little more slowly?",
        "The children built a castle out of snow.",
        "Nobody expected the meeting to last so long.",
    ),
    "country": (
        *("Peru", "Kenya", "Norway", "Vietnam", "Portugal", "Morocco", "Bolivia", "Mongolia"),
        *("Finland", "Ghana", "Chile", "Nepal", "Austria", "Laos", "Namibia", "Ecuador"),
        *("Georgia", "Tunisia", "Slovenia", "Uruguay", "Zambia", "Jordan", "Iceland", "Cambodia"),
    ),
    "person": (
        *("a retiring teacher", "my neighbour", "a newborn's parents", "our landlord"),
        *("a shy colleague", "my oldest friend", "the choir", "a nervous bride"),
    ),
    "topic": ("the sea", "burnt toast", "a lost umbrella", "spring", "late buses", "an old piano"),
    "note": (
        "Your parcel is here. Collect it.",
        "The party was loud. Do not repeat it.",
        "I cannot come on Sunday.",
        "The rent is due. Pay it by Friday.",
        "You forgot my birthday.",
    ),
}


def prompts_of(kind: str, rng: np.random.Generator) -> list[str]:
    """Return different prompts of a kind."""
    made: dict[str, None] = {}
    while len(made) < PER_KIND:
        template = str(rng.choice(TEMPLATES[kind]))
        words = {name: str(rng.choice(choice)) for name, choice in WORDS.items()}
        numbers = {"n": rng.integers(3, 60), "m": rng.integers(60, 900), "k": rng.integers(2, 30)}
        made[template.format(**words, **numbers)] = None
    return list(made)


def main() -> None:
    """Write ``votes.jsonl`` beside this file."""
    rng = np.random.default_rng(SEED)
    asked = [(kind, text) for kind in TEMPLATES for text in prompts_of(kind, rng)]
    rows = []
    for number, place in enumerate(rng.permutation(len(asked)), start=1):
        kind, prompt = asked[place]
        strength = dict(zip(MODELS, STRENGTH, strict=True))
        for model, talent in TALENTS[kind].items():
            strength[model] += talent
        for _ in range(PER_PROMPT):
            a, b = map(str, rng.choice(MODELS, 2, replace=False))
            p = 1 / (1 + np.exp(strength[a] - strength[b]))
            is_tie = rng.random() < TIE_SHARE * 4 * p * (1 - p)
            winner = "tie" if is_tie else "model_b" if rng.random() < p else "model_a"
            row = {"question_id": f"q{number:03}", "prompt": prompt}
            rows.append({**row, "model_a": a, "model_b": b, "winner": winner})
    lines = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows]
    path = Path(__file__).with_name("votes.jsonl")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
