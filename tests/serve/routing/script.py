"""Prompts sent by hand, one after the other, and what the policies with trees have in common."""

import numpy as np
from tests.contracts.router import RouterContract
from tests.serve.routing.prompts import finished, prompt

from triskele.serve.routing import Router, Worker


class AffinityContract(RouterContract):
    load_bound = 1.0

    def reserved(self, router: Router) -> float:
        return float(router._trees.load.counts.sum())


class Script:
    """Sends prompts one after the other, and ends each at once unless told to let it wait."""

    def __init__(self, router: Router, fleet: tuple[Worker, ...]) -> None:
        self.router, self.fleet, self.n = router, fleet, 0

    def send(self, *pages: int, to: str | None = None, waits: bool = False) -> str:
        """Return who was chosen; ``to`` leaves no choice by offering one worker alone."""
        assert to is None or len(self.fleet) == 1
        name = self.router.choose(prompt(self.n, *pages), self.fleet, 0.0).name
        if not waits:
            self.router.observe(finished(self.n, name), 0.0)
        self.n += 1
        return name


def rng() -> np.random.Generator:
    return np.random.default_rng(0)
