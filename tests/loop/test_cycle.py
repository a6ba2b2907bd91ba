import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.loop.worlds import MODELS, WORDS, World, config_of

from triskele.loop.cycle import CycleConfig, release, rollback, turn
from triskele.loop.embedding import embedder_of
from triskele.loop.verdict import Verdict, alone, history_of, read_verdicts
from triskele.serve.routing.capability import CapabilityRouter, Preference
from triskele.serve.routing.capability_table import Shelf, table_of


def once(config: CycleConfig, world: World) -> Verdict:
    return turn(config, now=world.now, rng=np.random.default_rng(0))


def chosen(config: CycleConfig, kind: str) -> str:
    table = Shelf(config.capability).current()
    assert table is not None
    x = embedder_of(table.embedder)([" ".join(WORDS[kind][:6])])[0]
    router = CapabilityRouter(np.random.default_rng(0))
    preference = Preference(margin=0.0, price=0.0)
    return router.decide(table, x, MODELS, preference=preference).model


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[CycleConfig, World, Verdict]:
    """Return a loop that has turned once."""
    config = config_of(tmp_path_factory.mktemp("learned"))
    world = World(np.random.default_rng(1))
    world.serve(config.journal, 600)
    return config, world, once(config, world)


def test_it_learns_to_send_each_kind_of_query_to_who_is_good_at_it(
    learned: tuple[CycleConfig, World, Verdict],
) -> None:
    config, _, verdict = learned
    assert verdict.published
    assert verdict.version == 1
    assert verdict.is_structured
    assert chosen(config, "code") == "coder"
    assert chosen(config, "past") == "historian"
    assert list(read_verdicts(config.capability))[-1] == verdict


def test_without_a_file_of_prices_a_model_costs_its_tokens(
    learned: tuple[CycleConfig, World, Verdict],
) -> None:
    table = Shelf(learned[0].capability).current()
    assert table is not None
    assert dict(zip(table.models, table.prices.tolist(), strict=True)) == {
        "coder": 18.0,
        "historian": 28.0,
        "plain": 38.0,
    }


def test_what_has_been_looked_at_is_not_new_again(
    learned: tuple[CycleConfig, World, Verdict],
) -> None:
    config, world, _ = learned
    verdict = once(config, world)
    assert not verdict.published
    assert verdict.n_new == 0
    assert verdict.reasons[0].startswith("waits")


def test_there_is_nothing_to_learn_from_an_empty_journal(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    with pytest.raises(OSError, match="journal"):
        once(config, World(np.random.default_rng(0)))
    config.journal.mkdir()
    assert once(config, World(np.random.default_rng(0))).reasons[0].startswith("waits")
    assert Shelf(config.capability).current() is None


def test_an_operator_can_go_back_and_what_was_said_until_then_publishes_nothing(
    tmp_path: Path,
) -> None:
    config = config_of(tmp_path)
    world = World(np.random.default_rng(2))
    Shelf(config.capability).publish(table_of(MODELS, prices=[1, 1, 1], bias=[0, 0, 0]))
    world.serve(config.journal, 400)
    assert once(config, world).version == 2
    world.now += 1.0
    verdict = rollback(config.capability, now=world.now)
    assert (verdict.current, verdict.version) == (2, 1)
    assert once(config, world).reasons[0].startswith("waits")
    current = Shelf(config.capability).current()
    assert current is not None
    assert current.version == 1
    world.serve(config.journal, 400)
    assert once(config, world).version == 3
    assert rollback(config.capability, version=2, now=world.now).version == 2
    with pytest.raises(ValueError, match="no version 9"):
        rollback(config.capability, version=9, now=world.now)
    rollback(config.capability, now=world.now)
    with pytest.raises(ValueError, match="no version before 1"):
        rollback(config.capability, now=world.now)


def test_a_batch_full_of_flips_is_refused_until_it_is_released(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    world = World(np.random.default_rng(3))
    world.serve(config.journal, 800)
    assert once(config, world).published
    world.flips = 0.3
    world.serve(config.journal, 500)
    verdict = once(config, world)
    assert verdict.refused
    assert not verdict.published
    assert any("refused" in alarm for alarm in verdict.alarms)
    world.flips = 0.0
    world.serve(config.journal, 300)
    later = once(config, world)
    assert not later.refused
    assert later.n == 1100
    release(config.capability, now=world.now)
    world.serve(config.journal, 100)
    assert once(config, world).n == 1700


def test_a_liar_is_not_believed_and_named(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    world = World(np.random.default_rng(5), liars=("dia",))
    world.serve(config.journal, 600)
    verdict = once(config, world)
    assert set(verdict.quarantined) == {"dia"}
    assert verdict.published
    assert chosen(config, "code") == "coder"
    assert chosen(config, "past") == "historian"


def test_a_model_that_has_become_worse_is_found_and_left(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    world = World(np.random.default_rng(5))
    world.serve(config.journal, 900)
    assert once(config, world).published
    world.quality = {"code": (0.2, 0.3, 0.55), "past": (0.1, 0.9, 0.55)}
    world.serve(config.journal, 400)
    verdict = once(config, world)
    assert set(verdict.changed) == {"coder"}
    assert not verdict.refused
    assert verdict.published
    assert chosen(config, "code") == "plain"
    assert chosen(config, "past") == "historian"


def test_a_new_model_and_a_new_price_are_known_at_once(tmp_path: Path) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text('{"coder": 3, "historian": 2, "plain": 1}')
    config = config_of(tmp_path, prices=prices)
    world = World(np.random.default_rng(6))
    world.serve(config.journal, 400)
    assert once(config, world).version == 1
    prices.write_text('{"coder": 3, "historian": 2, "plain": 1.5, "new": 9}')
    once(config, world)
    table = Shelf(config.capability).current()
    assert table is not None
    assert table.version == 2
    assert table.models == (*MODELS, "new")
    assert table.prices.tolist() == [3, 2, 1.5, 9]
    verdicts = list(read_verdicts(config.capability))
    assert [verdict.kind for verdict in verdicts] == ["turn", "amendment"]
    assert history_of(config.capability).current_since == verdicts[0].until
    once(config, world)
    assert Shelf(config.capability).versions() == [1, 2]


def test_two_loops_do_not_turn_in_one_folder(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.journal.mkdir()
    with (
        alone(config.capability),
        pytest.raises(ValueError, match="another loop"),
    ):
        once(config, World(np.random.default_rng(0)))


def test_a_callable_scores_what_nobody_spoke_of(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    world = World(np.random.default_rng(7))
    world.serve(config.journal, 100)
    (config.journal / "feedback.jsonl").unlink()
    seen: list[str] = []

    def score(record: object) -> float:
        seen.append(str(record))
        return 1.0

    verdict = turn(config, now=world.now, rng=np.random.default_rng(0), score=score)
    assert len(seen) == verdict.n == 100


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from tests.loop.worlds import config_of
from triskele.loop.cycle import turn
folder, now, fatal = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
calls = 0
def counted(real):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call
os.fsync, Path.replace = counted(os.fsync), counted(Path.replace)
turn(config_of(folder), now=now, rng=np.random.default_rng(0))
"""


@pytest.mark.parametrize("fatal", [1, 2, 3, 4, 5])
def test_killed_while_it_publishes_it_leaves_a_table_and_goes_on(
    tmp_path: Path, fatal: int
) -> None:
    config = config_of(tmp_path)
    world = World(np.random.default_rng(8))
    Shelf(config.capability).publish(table_of(MODELS, prices=[1, 1, 1], bias=[0, 0, 0]))
    world.serve(config.journal, 300)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(world.now), str(fatal)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    current = Shelf(config.capability).current()
    assert current is not None
    # Files are a table and what names it, each brought to the disk and then put in place.
    assert current.version == (1 if fatal <= 4 else 2)
    world.serve(config.journal, 100)
    verdict = once(config, world)
    after = Shelf(config.capability).current()
    assert after is not None
    assert after.version == verdict.version
    assert after.version >= 2
