import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from triskele.serve.routing.named import Policy
from triskele.serve.simulate.config import FleetOptions, ShapeOptions, SimulateConfig
from triskele.serve.simulate.cost import COSTS
from triskele.serve.simulate.experiment import WORKLOADS, Experiment, Trial
from triskele.serve.simulate.result import Result

SHAPE = ShapeOptions(size=2, lengths=(64, 96), rate=200.0)
"""64 short requests in a third of a second."""
VALUES = {
    "size": 2,
    "rate": 50.0,
    "burstiness": 2.0,
    "speed": 2.0,
    "start": 1,
    "shrink": 2,
    "ratio": 0.25,
    "order": "grouped",
    "lengths": (64,),
    "output": 2,
    "think": 0.5,
    "page_size": 32,
}
FILES = {
    "mooncake": [
        {"timestamp": at, "input_length": 600, "output_length": 3, "hash_ids": [0, at]}
        for at in range(1, 5)
    ],
    "sharegpt": [
        {"conversations": [{"from": "human", "value": "why"}, {"from": "gpt", "value": "so"}] * 2}
    ],
    "ultrachat": [{"data": ["why", "because", "why", "because"]}],
    "loogle": [{"context": "a document " * 9, "question": "which", "answer": "that"}],
}
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "2023-11-16 18:17:03,48,10\n" * 4


def write(folder: Path, workload: str) -> Path:
    path = folder / workload
    text = "".join(json.dumps(row) + "\n" for row in FILES.get(workload, []))
    path.write_text(AZURE if workload == "azure" else text)
    return path


def run(experiment: Experiment) -> list[tuple[Trial, Result]]:
    return list(experiment.run(on_begin=lambda trial: None, on_progress=lambda n_done, now: None))


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_workload_takes_its_options_and_serves_every_request(
    workload: str, tmp_path: Path
) -> None:
    source = WORKLOADS[workload]
    config = SimulateConfig(
        workload=workload,
        trace=write(tmp_path, workload) if source.is_read else None,
        router="least-loaded",
        shape=ShapeOptions(**{option: VALUES[option] for option in source.options}),  # type: ignore[arg-type]
    )
    experiment = Experiment(config)
    [(trial, result)] = run(experiment)
    assert trial == Trial(Policy("least-loaded", "lru"), 0)
    assert len(result["id"]) == experiment.n_requests > 0
    assert result.is_finished.all()


@pytest.mark.parametrize("workload", WORKLOADS)
def test_an_option_that_a_workload_does_not_have_is_refused(workload: str, tmp_path: Path) -> None:
    source = WORKLOADS[workload]
    trace = write(tmp_path, workload) if source.is_read else None
    others = {option.name for option in fields(ShapeOptions)} - source.options.keys()
    assert others
    for option in others:
        shape = ShapeOptions(**{option: VALUES[option]})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=f"--{option.replace('_', '-')} .* {workload} has"):
            Experiment(SimulateConfig(workload=workload, trace=trace, shape=shape))


def test_all_policies_of_a_seed_serve_the_same_requests_in_order() -> None:
    config = SimulateConfig(
        router="round-robin", compare=("random+fifo", "round-robin+lru"), seeds=2, shape=SHAPE
    )
    experiment = Experiment(config)
    trials, results = zip(*run(experiment), strict=True)
    policies = Policy("round-robin", "lru"), Policy("random", "fifo")
    assert trials == tuple(Trial(policy, seed) for seed in (0, 1) for policy in policies)
    assert experiment.n_trials == 4
    assert np.array_equal(results[0]["arrived"], results[1]["arrived"])
    assert not np.array_equal(results[0]["arrived"], results[2]["arrived"])


def test_hardware_is_given_to_the_workers_in_turn(tmp_path: Path) -> None:
    steps = tmp_path / "mine.csv"
    rows = [f"{n},{n * n / 2},0,{5 + 0.1 * n}" for n in range(100, 1100, 100)]
    steps.write_text("\n".join(["n_tokens,n_attended,n_kv,milliseconds", *rows]))
    fleet = FleetOptions(workers=3, hardware=("llama-8b-h100", str(steps)), kv_tokens=4096)
    experiment = Experiment(SimulateConfig(fleet=fleet, router="round-robin", shape=SHAPE))
    [(_, result)] = run(experiment)
    seconds = [result["first_token"] - result["admitted"]][0]
    by_worker = [np.median(seconds[result["worker"] == number]) for number in range(3)]
    assert by_worker[0] < by_worker[1]
    assert by_worker[2] < by_worker[1]
    assert COSTS["llama-8b-h100"].kv_tokens != 4096


def test_workers_fail_and_join_when_it_is_said() -> None:
    fleet = FleetOptions(workers=2, changes=("0.2:0:joins", "0.1:0:fails"))
    config = SimulateConfig(fleet=fleet, router="round-robin", shape=SHAPE)
    [(_, result)] = run(Experiment(config))
    arrived, worker = result["arrived"], result["worker"]
    assert set(worker[(arrived > 0.1) & (arrived < 0.2)]) == {1}
    assert set(worker[arrived > 0.2]) == {0, 1}
    assert result.is_finished.all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workload": "chat"}, "no workload 'chat'; there are: gsp, "),
        ({"workload": "mooncake"}, "mooncake is read from a file: name it with --trace"),
        ({"trace": Path("x")}, "gsp is generated and reads no --trace"),
        ({"workload": "azure", "trace": Path("no/x")}, "there is none at no/x"),
        ({"router": "fastest"}, "no router 'fastest'"),
        ({"compare": ("lbgr+belady",)}, "no eviction 'belady'"),
        ({"seeds": 0}, "--seeds of at least 1, got 0"),
        ({"seed": -1}, "--seed of at least 0, got -1"),
        ({"slo": float("nan")}, "--slo of at least 0, got nan"),
        ({"fleet": FleetOptions(workers=0)}, "--workers of at least 1, got 0"),
        ({"fleet": FleetOptions(kv_tokens=0)}, "--kv-tokens of at least 1, got 0"),
        ({"fleet": FleetOptions(event_delay=-1.0)}, "--event-delay of at least 0, got -1"),
        ({"fleet": FleetOptions(hardware=())}, "--hardware to name"),
        ({"fleet": FleetOptions(hardware=("abacus",))}, "no hardware 'abacus'; there are: llama"),
        ({"fleet": FleetOptions(changes=("soon:0:fails",))}, "SECONDS:WORKER:fails"),
        ({"fleet": FleetOptions(changes=("3:0:rests",))}, "got '3:0:rests'"),
        ({"fleet": FleetOptions(changes=("3:0",))}, "got '3:0'"),
        ({"fleet": FleetOptions(changes=("nan:0:fails",))}, "at 0 seconds or later"),
        ({"fleet": FleetOptions(changes=("3:4:fails",))}, "a worker below 4, got 4"),
        ({"shape": ShapeOptions(rate=0.0)}, "rate above 0, got 0"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_trial(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Experiment(SimulateConfig(**changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"n_tokens\n" + b"1" * 200_000])
def test_steps_that_are_no_table_are_refused_with_their_name(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.csv"):
        Experiment(SimulateConfig(fleet=FleetOptions(hardware=(str(path),))))
