"""From what was asked for to what became of it: a workload, a fleet, and one trial per policy.

All trials of a seed serve the very same requests at the same times on the same workers, so that
what differs between them is the policy. Everything that cannot be is refused before the first.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import cycle, islice
from math import inf
from pathlib import Path
from typing import Any

from triskele.serve.routing.named import Policy
from triskele.serve.simulate.config import SimulateConfig
from triskele.serve.simulate.cost import COSTS, CostModel, fit_cost
from triskele.serve.simulate.dialogues import Dialogues
from triskele.serve.simulate.documents import Documents
from triskele.serve.simulate.long_document import LongDocument
from triskele.serve.simulate.multi_turn import MultiTurn
from triskele.serve.simulate.replica import Batching
from triskele.serve.simulate.result import Result
from triskele.serve.simulate.shared_prefix import SharedPrefix
from triskele.serve.simulate.simulator import Advance, Change, Fleet, simulate
from triskele.serve.simulate.synthetic import Synthetic
from triskele.serve.simulate.traces import AzureTrace, MooncakeTrace
from triskele.serve.simulate.workload import Workload


@dataclass(frozen=True, slots=True)
class Source:
    """Where a workload comes from.

    Attributes
    ----------
    make
        The workload's class.
    options
        What it calls the options of ``ShapeOptions`` that it takes.
    is_read
        Whether it is read from a file.
    is_seeded
        Whether it draws.
    """

    make: Callable[..., Workload]
    options: Mapping[str, str]
    is_read: bool = False
    is_seeded: bool = True


DRAWN = {"rate": "rate", "burstiness": "burstiness", "page_size": "page_size"}
PLAYED = {"size": "limit", "start": "start", "speed": "speed", "shrink": "shrink"}
SPOKEN = DRAWN | {"size": "limit", "output": "max_output", "think": "think"}

WORKLOADS = {
    "gsp": Source(
        SharedPrefix,
        DRAWN
        | {
            "size": "groups",
            "ratio": "ratio",
            "order": "order",
            "lengths": "lengths",
            "output": "output",
        },
    ),
    "multi-turn": Source(
        MultiTurn, DRAWN | {"size": "conversations", "output": "answer", "think": "think"}
    ),
    "long-document": Source(
        LongDocument, DRAWN | {"size": "documents", "lengths": "lengths", "output": "output"}
    ),
    "synthetic": Source(Synthetic, DRAWN | {"size": "n_jobs", "output": "output"}),
    "sharegpt": Source(Dialogues, SPOKEN, is_read=True),
    "ultrachat": Source(
        lambda path, **options: Dialogues(path, layout="ultrachat", **options),
        SPOKEN,
        is_read=True,
    ),
    "loogle": Source(
        Documents,
        DRAWN | {"size": "limit", "lengths": "lengths", "output": "max_output"},
        is_read=True,
    ),
    "mooncake": Source(MooncakeTrace, PLAYED, is_read=True, is_seeded=False),
    "azure": Source(AzureTrace, PLAYED | {"page_size": "page_size"}, is_read=True, is_seeded=False),
}


@dataclass(frozen=True, slots=True)
class Trial:
    """One simulation: a policy, and the seed of everything that draws."""

    policy: Policy
    seed: int


class Experiment:
    """What a configuration asks for, checked.

    Parameters
    ----------
    config
        What is asked for.

    Attributes
    ----------
    n_trials
        How many simulations there will be: one per policy and seed.
    n_requests
        Requests of each.

    Raises
    ------
    ValueError
        If a name is unknown, a number cannot be, or a file is not what its workload reads.
    """

    def __init__(self, config: SimulateConfig) -> None:
        _check_numbers(config)
        self._config = config
        self._policies = _policies(config)
        self._costs = _costs(config)
        self._changes = _changes(config)
        self._first = _workload(config, config.seed)
        self._fleet(Trial(self._policies[0], config.seed))
        self.n_trials = len(self._policies) * config.seeds
        self.n_requests = self._first.n_jobs

    def run(
        self, *, on_begin: Callable[[Trial], None], on_progress: Advance
    ) -> Iterator[tuple[Trial, Result]]:
        """Yield the result of each trial, seed by seed.

        Parameters
        ----------
        on_begin
            Told of each trial before it runs.
        on_progress
            Told, while it runs, how many of its requests have ended and the simulated time.
        """
        config = self._config
        for seed in range(config.seed, config.seed + config.seeds):
            workload = self._first if seed == config.seed else _workload(config, seed)
            for policy in self._policies:
                trial = Trial(policy, seed)
                on_begin(trial)
                router = policy.route(seed, page_size=workload.page_size)
                fleet = self._fleet(trial)
                yield trial, simulate(workload, router, fleet, on_progress=on_progress)

    def _fleet(self, trial: Trial) -> Fleet:
        options = self._config.fleet
        return Fleet(
            costs=self._costs,
            eviction=trial.policy.evict(trial.seed),
            batching=Batching(n_tokens=options.chunk, n_running=options.running),
            event_delay=options.event_delay,
            changes=self._changes,
        )


def _check_numbers(config: SimulateConfig) -> None:
    fleet = config.fleet
    for option, value, least in (
        ("--workers", fleet.workers, 1),
        ("--seeds", config.seeds, 1),
        ("--seed", config.seed, 0),
        ("--chunk", fleet.chunk, 1),
        ("--running", fleet.running, 1),
        ("--kv-tokens", 1 if fleet.kv_tokens is None else fleet.kv_tokens, 1),
        ("--event-delay", fleet.event_delay or 0.0, 0),
        ("--slo", config.slo, 0),
    ):
        if not least <= value < inf:
            raise ValueError(f"expected {option} of at least {least}, got {value}")


def _policies(config: SimulateConfig) -> list[Policy]:
    """Return the policies to try, each once."""
    policies = [Policy(config.router, config.eviction)]
    policies += [Policy.parse(text, eviction=config.eviction) for text in config.compare]
    return list(dict.fromkeys(policies))


def _costs(config: SimulateConfig) -> list[CostModel]:
    """Return a cost model per worker, the hardware taken in turn."""
    options = config.fleet
    if not options.hardware:
        raise ValueError("expected --hardware to name what the workers run on")
    models = [_cost(name) for name in options.hardware]
    if options.kv_tokens is not None:
        models = [replace(model, kv_tokens=options.kv_tokens) for model in models]
    return list(islice(cycle(models), options.workers))


def _cost(name: str) -> CostModel:
    if name.endswith(".csv"):
        try:
            return fit_cost(Path(name))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"expected measured steps in {name}: {error}") from None
    if name not in COSTS:
        known = ", ".join(COSTS)
        raise ValueError(f"no hardware {name!r}; there are: {known}; or a .csv of measured steps")
    return COSTS[name]


def _changes(config: SimulateConfig) -> list[Change]:
    """Return what befalls the workers, in order of time."""
    changes = [_change(text) for text in config.fleet.changes]
    return sorted(changes, key=lambda change: change.at)


def _change(text: str) -> Change:
    at, _, rest = text.partition(":")
    worker, _, event = rest.partition(":")
    try:
        joins = {"joins": True, "fails": False}[event]
        change = Change(at=float(at), worker=int(worker), joins=joins)
    except (KeyError, ValueError):
        raise ValueError(
            f"expected a change as SECONDS:WORKER:fails or SECONDS:WORKER:joins, got {text!r}"
        ) from None
    if not 0 <= change.at < inf:
        raise ValueError(f"expected a change at 0 seconds or later, got {text!r}")
    return change


def _workload(config: SimulateConfig, seed: int) -> Workload:
    """Return the workload of a seed; an option that does not suit it is refused."""
    source = WORKLOADS.get(config.workload)
    if source is None:
        raise ValueError(f"no workload {config.workload!r}; there are: {', '.join(WORKLOADS)}")
    if source.is_read and config.trace is None:
        raise ValueError(f"{config.workload} is read from a file: name it with --trace")
    if not source.is_read and config.trace is not None:
        raise ValueError(f"{config.workload} is generated and reads no --trace")
    options: dict[str, Any] = {"seed": seed} if source.is_seeded else {}
    for option in fields(config.shape):
        value = getattr(config.shape, option.name)
        if value is None:
            continue
        if option.name not in source.options:
            taken = ", ".join(_flag(name) for name in source.options)
            raise ValueError(
                f"{_flag(option.name)} is nothing that {config.workload} has; it has {taken}"
            )
        options[source.options[option.name]] = value
    return source.make(config.trace, **options) if source.is_read else source.make(**options)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
