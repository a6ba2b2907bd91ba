from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import tyro

from triskele.serve.cache.named import EVICTIONS
from triskele.serve.routing.named import ROUTERS
from triskele.serve.simulate.config import FleetOptions, ShapeOptions, SimulateConfig
from triskele.serve.simulate.cost import COSTS
from triskele.serve.simulate.experiment import WORKLOADS


def parse(line: str) -> SimulateConfig:
    return tyro.cli(SimulateConfig, args=line.split(), config=(tyro.conf.OmitArgPrefixes,))


def test_nothing_said_is_the_default() -> None:
    assert parse("") == SimulateConfig()


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        SimulateConfig().seed = 1  # type: ignore[misc]


def test_the_command_line_is_the_record() -> None:
    line = (
        "--workload mooncake --trace chat.jsonl --router dynamo --eviction rlt --seeds 3 --slo 1.5 "
        "--compare cache-aware+lru round-robin --workers 8 --hardware llama-8b-l40 mine.csv "
        "--event-delay 0.05 --changes 60:1:fails 120:1:joins --speed 4 --size 100 --out there"
    )
    assert parse(line) == SimulateConfig(
        workload="mooncake",
        trace=Path("chat.jsonl"),
        router="dynamo",
        eviction="rlt",
        seeds=3,
        slo=1.5,
        compare=("cache-aware+lru", "round-robin"),
        out=Path("there"),
        fleet=FleetOptions(
            workers=8,
            hardware=("llama-8b-l40", "mine.csv"),
            event_delay=0.05,
            changes=("60:1:fails", "120:1:joins"),
        ),
        shape=ShapeOptions(speed=4.0, size=100),
    )


@pytest.mark.parametrize("names", [ROUTERS, EVICTIONS, WORKLOADS, COSTS], ids=len)
def test_the_help_names_everything_that_can_be_named(
    names: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    said = capsys.readouterr().out.replace(",", " ").replace(".", " ").split()
    assert names.keys() - set(said) == set()
