"""Small worlds: two kinds of queries, three models, and journals of what happened in them."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from tests.serve.journal.records import record

from triskele.loop.cycle import CycleConfig
from triskele.loop.evidence import Evidence, Floats, Gathering
from triskele.loop.fitting import FitConfig
from triskele.loop.judgement import JudgementConfig
from triskele.serve.journal import Feedback, Record
from triskele.serve.journal.feedback import FILE
from triskele.serve.journal.record import encode_line
from triskele.serve.routing.capability_table import CapabilityTable, table_of

MODELS = ("coder", "historian", "plain")
CODE = ("python", "function", "loop", "list", "sort", "class", "error", "test", "import", "return")
PAST = (
    "king",
    "war",
    "empire",
    "treaty",
    "century",
    "battle",
    "queen",
    "church",
    "revolt",
    "trade",
)
WORDS = {"code": CODE, "past": PAST}
QUALITY = {"code": (0.9, 0.3, 0.55), "past": (0.3, 0.9, 0.55)}
SMALL = FitConfig(fewest_queries=60, landmarks=60, kinds=2, folds=2)
JUDGE = JudgementConfig(fit=SMALL)
EMBEDDER = "hashed-words:64"


@dataclass
class World:
    """What is asked, who answers, and what is said of it; time is the number of requests."""

    rng: np.random.Generator
    quality: dict[str, tuple[float, ...]] = field(default_factory=lambda: dict(QUALITY))
    keys: tuple[str, ...] = ("ann", "bob", "cem", "dia")
    liars: tuple[str, ...] = ()
    flips: float = 0.0
    now: float = 1000.0
    texts: dict[str, str] = field(default_factory=dict)

    def ask(self) -> tuple[str, str]:
        """Return a kind and a text."""
        kind = str(self.rng.choice(list(self.quality)))
        text = " ".join(self.rng.choice(WORDS[kind], 6))
        self.now += 1.0
        return kind, f"{text} {self.now:.0f}"

    def say(self, kind: str, model: int) -> tuple[str, float]:
        """Return who says how good an answer was."""
        score = float(self.rng.random() < self.quality[kind][model])
        key = str(self.rng.choice(self.keys))
        if key in self.liars or self.rng.random() < self.flips:
            score = 1.0 - score
        return key, score

    def gather(self, gathering: Gathering, n: int) -> None:
        """Add n scores of models drawn alike."""
        for _ in range(n):
            kind, text = self.ask()
            model = int(self.rng.integers(len(self.quality[kind])))
            key, score = self.say(kind, model)
            gathering.score(
                text, MODELS[model], score, answered=self.now, arrived=self.now, source=key
            )

    def serve(self, journal: Path, n: int) -> None:
        """Write n requests and what is said of them into a journal."""
        records: list[Record] = []
        said: list[Feedback] = []
        for _ in range(n):
            kind, text = self.ask()
            model = int(self.rng.integers(len(MODELS)))
            key, score = self.say(kind, model)
            name = f"r{self.now:.0f}"
            records.append(
                record(
                    0,
                    id=name,
                    time=self.now,
                    model=MODELS[model],
                    prompt=text,
                    n_prompt=8,
                    n_output=10 * (model + 1),
                )
            )
            said.append(Feedback(id=name, time=self.now, score=score, source=key))
        write_journal(journal, records, said)


def write_journal(journal: Path, records: list[Record], said: list[Feedback]) -> None:
    """Add to a journal."""
    journal.mkdir(parents=True, exist_ok=True)
    with (journal / "journal-0000000001.jsonl").open("ab") as file:
        file.write(b"".join(encode_line(each) for each in records))
    with (journal / FILE).open("ab") as file:
        file.write(b"".join(msgspec.json.encode(each) + b"\n" for each in said))


def embed(texts: tuple[str, ...]) -> Floats:
    """Return two features: how much a text is of each kind."""
    x = np.array(
        [[sum(word in text for word in words) for words in WORDS.values()] for text in texts],
        np.float64,
    ).reshape(len(texts), 2)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


def evidence_of(world: World, n: int) -> tuple[Evidence, Floats]:
    """Return n pieces of evidence, and embeddings of the queries."""
    gathering = Gathering()
    world.gather(gathering, n)
    evidence = gathering.evidence()
    return evidence, embed(evidence.texts)


def true_table(quality: dict[str, tuple[float, ...]] = QUALITY) -> CapabilityTable:
    """Return the table that knows the world."""
    odds = np.log(np.array([*quality.values()])) - np.log1p(-np.array([*quality.values()]))
    bias = odds.mean(0)
    return table_of(
        MODELS,
        prices=np.ones(3),
        bias=bias,
        points=np.eye(2),
        gamma=100.0,
        weights=odds - bias,
        embedder=EMBEDDER,
    )


def config_of(folder: Path, **changes: object) -> CycleConfig:
    """Return a loop in a folder."""
    fields: dict[str, object] = {
        "journal": folder / "journal",
        "capability": folder / "capability",
        "embedder": EMBEDDER,
        "half_life": 10_000.0,
        "judgement": JUDGE,
    }
    return CycleConfig(**(fields | changes))  # type: ignore[arg-type]
