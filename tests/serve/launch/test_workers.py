import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.serve.gateway.openai_worker import Served, serving, until

from triskele.serve.launch.options import EngineOptions
from triskele.serve.launch.workers import Workers

PYTHON = sys.executable
# In place of the engine's process: told the same, it says the same and ends at the same.
ENGINE = """#!{python}
import asyncio, json, os, sys
from pathlib import Path
from tests.serve.gateway.openai_worker import OpenAIWorker

async def main():
    words = sys.argv[1:]
    folder = Path(words[words.index("--model") + 1])
    (folder / f"{{os.getpid()}}.started").write_text(json.dumps(words))
    if (folder / "broken").exists():
        sys.exit("the checkpoint is broken")
    if (folder / "slow").exists():
        await asyncio.to_thread(sys.stdin.buffer.read)
        sys.exit(0)
    worker = OpenAIWorker(str(os.getpid()))
    await worker.start()
    print(json.dumps({{"port": worker.port, "model": "toy"}}), flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    (folder / f"{{os.getpid()}}.ended").touch()
    os._exit(0)

asyncio.run(main())
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a model, and put a toy in the engine's place."""
    program = tmp_path / "python"
    program.write_text(ENGINE.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


def pids(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.started"))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@asynccontextmanager
async def serving_own(folder: Path, options: EngineOptions) -> AsyncIterator[Served]:
    async with serving() as served, Workers(folder, options, "rlt", served.gateway):
        yield served


def test_workers_of_ones_own_are_started_listed_and_ended(model: Path) -> None:
    async def run() -> None:
        async with serving_own(model, EngineOptions(workers=2)) as served:
            await served.gateway.ready(n_workers=2, seconds=20.0)
            assert sorted(each.name for each in served.gateway.fleet) == ["worker-0", "worker-1"]
            assert (await served.chat()).status == 200
            assert len(pids(model)) == 2
        assert not any(map(is_alive, pids(model)))

    asyncio.run(run())


def test_the_engine_is_told_all_that_was_asked_for(model: Path) -> None:
    async def run() -> None:
        options = EngineOptions(cache_tokens=1000, page_tokens=16, threads=3, running=5)
        async with serving_own(model, options):
            pass

    asyncio.run(run())
    (started,) = model.glob("*.started")
    said = started.read_text()
    for words in (
        '"-m", "triskele.serve.engine"',
        '"--n-pages", "62"',
        '"--eviction", "rlt"',
        '"--threads", "3"',
        '"--max-running", "5"',
        '"--follow-stdin"',
    ):
        assert words in said


def test_a_worker_that_ends_by_itself_is_started_again(model: Path) -> None:
    async def run() -> None:
        async with serving_own(model, EngineOptions(workers=2)) as served:
            await served.gateway.ready(n_workers=2, seconds=20.0)
            (victim, _) = pids(model)
            os.kill(victim, signal.SIGKILL)
            for number in range(20):
                assert (await served.chat(f"{number}")).status == 200, "the other serves meanwhile"
            await until(lambda: len(pids(model)) == 3)
            await served.gateway.ready(n_workers=2, seconds=20.0)
            assert sorted(each.name for each in served.gateway.fleet) == ["worker-0", "worker-1"]
        assert not any(map(is_alive, pids(model)))

    asyncio.run(run())


def test_a_worker_that_does_not_start_ends_all_of_them(model: Path) -> None:
    (model / "broken").touch()

    async def run() -> None:
        with pytest.raises(ValueError, match="worker 0 did not start; see what it said above"):
            async with serving_own(model, EngineOptions(workers=2)):
                pass
        assert not any(map(is_alive, pids(model)))

    asyncio.run(run())


def test_starting_can_be_broken_off(model: Path) -> None:
    (model / "slow").touch()

    async def run() -> None:
        async def start() -> None:
            async with serving_own(model, EngineOptions(workers=2)):
                pass

        starting = asyncio.create_task(start())
        await until(lambda: len(pids(model)) == 2)
        starting.cancel()
        await asyncio.wait([starting])
        assert starting.cancelled()
        assert not any(map(is_alive, pids(model)))

    asyncio.run(run())


def test_a_server_that_is_told_to_stop_while_its_workers_start_does_so(model: Path) -> None:
    (model / "slow").touch()
    program = (
        f"import sys; sys.executable = {sys.executable!r}; "
        "from triskele.serve.__main__ import main; sys.exit(main())"
    )

    async def run() -> None:
        process = await asyncio.create_subprocess_exec(
            *(PYTHON, "-c", program, "--model", str(model), "--port", "0"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await until(lambda: pids(model))
        process.terminate()
        out, said = await asyncio.wait_for(process.communicate(), 20.0)
        assert (process.returncode, out, said) == (0, b"", b"")
        await until(lambda: not any(map(is_alive, pids(model))))

    asyncio.run(run())
