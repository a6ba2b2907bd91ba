"""What a demonstration has found: every figure of it, measured in one run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triskele.demo.driving import Answered
from triskele.demo.models import Trained
from triskele.demo.scoring import Scores
from triskele.demo.workload import Workload
from triskele.loop import Verdict

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Round:
    """One workload, sent once, under some policy of routing."""

    policy: str
    answers: tuple[Answered, ...]

    @property
    def ttft(self) -> Floats:
        """Seconds to the first token of each request."""
        return np.array([answer.ttft for answer in self.answers])

    @property
    def hit_rate(self) -> float:
        """Share of the tokens of prompts that were found in a cache."""
        n_prompt = sum(answer.n_prompt for answer in self.answers)
        return sum(answer.n_cached for answer in self.answers) / max(1, n_prompt)

    def quantile(self, share: float) -> float:
        """Return the time to the first token that this share of the requests stays below."""
        return float(np.quantile(self.ttft, share))


@dataclass(frozen=True, slots=True)
class Choices:
    """Which models answered queries that left it to the gateway.

    Attributes
    ----------
    round
        Of the requests.
    scores
        Of all models on their queries.
    domains
        Where each query comes from.
    """

    round: Round
    scores: Scores
    domains: tuple[str, ...]

    @property
    def chosen(self) -> NDArray[np.intp]:
        """Indices of the models, (n_queries,)."""
        return np.array([self.scores.models.index(each.model) for each in self.round.answers])

    @property
    def share_right(self) -> float:
        """Share of the queries that went to the right model."""
        return float((self.chosen == self.scores.right).mean())

    @property
    def bits(self) -> float:
        """Mean bits per byte of the continuation under the model that answered."""
        return float(np.take_along_axis(self.scores.bits, self.chosen[:, None], 1).mean())

    @property
    def best_bits(self) -> float:
        """The same, if all queries had gone to the right model."""
        return float(self.scores.bits.min(1).mean())

    @property
    def n_explored(self) -> int:
        """Queries that went elsewhere so that evidence keeps coming."""
        return sum(answer.reason == "exploration" for answer in self.round.answers)

    def table(self, domains: Sequence[str]) -> NDArray[np.intp]:
        """Return how many queries of each domain went to each model, (n_domains, n_models)."""
        rows = np.array([domains.index(name) for name in self.domains])
        table = np.zeros((len(domains), len(self.scores.models)), np.intp)
        np.add.at(table, (rows, self.chosen), 1)
        return table


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All of it.

    Attributes
    ----------
    trained
        The models, and what DynMuon saved.
    workloads, scores
        The two workloads, and what each model makes of their queries.
    rounds
        The first workload under each policy.
    before, after
        The second workload, the model left to the gateway: without a capability table, and with
        the one that was published, if it was.
    verdict, n_comparisons
        Of the turn of the loop, and what it went by.
    stages
        What took how many seconds.
    n_workers
        That served, in all.
    machine
        What it ran on, in words.
    """

    trained: Trained
    workloads: tuple[Workload, Workload]
    scores: tuple[Scores, Scores]
    rounds: tuple[Round, ...]
    before: Choices
    after: Choices
    verdict: Verdict
    n_comparisons: int
    stages: dict[str, float]
    n_workers: int
    machine: str

    @property
    def models(self) -> tuple[str, ...]:
        """Names of models and domains."""
        return tuple(self.trained.arms)

    @property
    def seconds(self) -> float:
        """Seconds that all of it took."""
        return sum(self.stages.values())

    def talents(self) -> Floats:
        """Return mean bits per byte on text of each domain, of each model, (n, n)."""
        bits = np.concatenate([scores.bits for scores in self.scores])
        of = np.array([name for workload in self.workloads for name in domains_of(workload)])
        return np.array([bits[of == name].mean(0) for name in self.models])

    def figures(self) -> dict[str, Any]:
        """Return every figure, as plain values that JSON can hold."""
        race = self.trained.race
        return {
            "machine": self.machine,
            "seconds": _rounded(self.seconds),
            "stages": {name: _rounded(value) for name, value in self.stages.items()},
            "steps": {
                "domain": race.domain,
                "target_loss": _rounded(race.target),
                "muon": _rounded(race.rival_steps),
                "dynmuon": _rounded(race.contender_steps),
                "saving": _rounded(race.saving),
                "final_loss_muon": _rounded(race.rival.loss),
                "final_loss_dynmuon": _rounded(race.contender.loss),
            },
            "bits_per_byte": {
                name: dict(zip(self.models, map(_rounded, row), strict=True))
                for name, row in zip(self.models, self.talents().tolist(), strict=True)
            },
            "routing": [
                {
                    "policy": each.policy,
                    "n": len(each.answers),
                    "ttft_p50": _rounded(each.quantile(0.5)),
                    "ttft_p95": _rounded(each.quantile(0.95)),
                    "hit_rate": _rounded(each.hit_rate),
                }
                for each in self.rounds
            ],
            "loop": {
                "n_comparisons": self.n_comparisons,
                "n_queries": self.verdict.n_queries,
                "published": self.verdict.published,
                "candidate_loss": _rounded(self.verdict.candidate_loss),
                "current_loss": _rounded(self.verdict.current_loss),
                "gain": _rounded(self.verdict.gain),
                "gain_error": _rounded(self.verdict.gain_error),
                "reasons": list(self.verdict.reasons),
            },
            "choice": {
                name: {
                    "n": len(each.domains),
                    "share_right": _rounded(each.share_right),
                    "bits_per_byte": _rounded(each.bits),
                    "best_bits_per_byte": _rounded(each.best_bits),
                    "n_explored": each.n_explored,
                    "models_by_domain": each.table(self.models).tolist(),
                }
                for name, each in (("before", self.before), ("after", self.after))
            },
        }


def domains_of(workload: Workload) -> tuple[str, ...]:
    """Return where each query of a workload comes from."""
    return tuple(workload.passages[query.passage].domain for query in workload.queries)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
