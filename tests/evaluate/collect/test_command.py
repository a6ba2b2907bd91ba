import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate.collect.server import (
    KEY,
    MockServer,
    malformed,
    reply_to,
    reset,
    status,
    truncated,
)

from triskele.evaluate.collect import command
from triskele.evaluate.collect.ledger import read_entries
from triskele.evaluate.collect.run import Collector


@pytest.fixture
def server() -> Iterator[MockServer]:
    with MockServer() as running:
        yield running


class Clock:
    """A clock that waits move, so that they take no time."""

    def __init__(self) -> None:
        self.now = 1e9
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def arguments(server: MockServer, folder: Path, line: str = "", *, n_prompts: int = 4) -> list[str]:
    prompts = folder / "prompts.txt"
    prompts.write_text("".join(f"What is {number}?\n" for number in range(n_prompts)))
    needed = f"--prompts {prompts} --endpoints {server.address} --out {folder / 'out'}"
    models = "" if "--models" in line else "--models ada bob cy --judge judge"
    return [*needed.split(), *models.split(), *line.split()]


def collect(
    server: MockServer,
    folder: Path,
    line: str = "--yes",
    *,
    n_prompts: int = 4,
    clock: Clock | None = None,
) -> int:
    clock = clock or Clock()
    words = arguments(server, folder, line, n_prompts=n_prompts)
    return command.main(words, clock=clock, sleep=clock.sleep)


def votes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out/votes.jsonl").read_text().splitlines()]


def text_of(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_prompts_become_votes(
    server: MockServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert collect(server, tmp_path) == 0
    rows = votes(tmp_path)
    assert len(rows) == 4 * 3
    for row in rows:
        # The mock judge prefers later names.
        assert row["winner"] == "model_b"
        assert row["model_a"] < row["model_b"]
        assert (row["judge"], row["order"], row["is_consistent"]) == ("judge", "both", True)
    assert len(server.bodies) == 4 * 3 + 4 * 3 * 2
    assert set(server.times_asked().values()) == {1}
    text = text_of(capsys)
    for words in ("12 comparisons of answers to 4 prompts", "votes: 12; ties: 0", "50%"):
        assert words in text


def test_again_asks_nothing_and_more_asks_for_what_is_new(
    server: MockServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert collect(server, tmp_path) == 0
    before = (tmp_path / "out/votes.jsonl").read_bytes()
    n_asked = len(server.bodies)
    # Nobody need agree to nothing.
    assert collect(server, tmp_path, "") == 0
    assert len(server.bodies) == n_asked
    assert (tmp_path / "out/votes.jsonl").read_bytes() == before
    assert "spent before" in text_of(capsys)
    assert collect(server, tmp_path, n_prompts=5) == 0
    assert len(server.bodies) == n_asked + 3 + 6
    assert collect(server, tmp_path, "--yes --models ada bob cy dan --judge judge") == 0
    assert len(server.bodies) == n_asked + 9 + 4 + 3 * 2 * 4
    assert set(server.times_asked().values()) == {1}


def test_a_biased_judge_gives_ties_and_is_found_out(
    server: MockServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.reply = lambda body: '{"verdict": "A"}' if body["model"] == "judge" else reply_to(body)
    assert collect(server, tmp_path) == 0
    rows = votes(tmp_path)
    assert {(row["winner"], row["is_consistent"]) for row in rows} == {("tie", False)}
    assert {(row["verdict_ab"], row["verdict_ba"]) for row in rows} == {("model_a", "model_b")}
    assert "shown first in 100%" in text_of(capsys)


def test_verdicts_that_cannot_be_read_are_kept_and_do_not_count(
    server: MockServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = iter(range(1000))
    server.reply = lambda body: (
        "Hard to say." if body["model"] == "judge" and next(numbers) % 6 == 0 else reply_to(body)
    )
    assert collect(server, tmp_path, "--yes --concurrency 1") == 0
    entries = read_entries(tmp_path / "out/ledger.jsonl")
    unread = [made for made in entries if made.kind == "verdict" and made.verdict is None]
    assert {made.text for made in unread} == {"Hard to say."}
    assert len(votes(tmp_path)) == 12 - len(unread) == 8
    assert "cannot be read and do not count: 4" in text_of(capsys)


def test_faults_that_pass_are_waited_out(server: MockServer, tmp_path: Path) -> None:
    clock = Clock()
    server.faults += [status(429, Retry_After="7"), status(500), malformed, truncated, reset]
    assert collect(server, tmp_path, "--yes --concurrency 1", clock=clock) == 0
    assert len(votes(tmp_path)) == 12
    assert len(clock.slept) == 5
    assert 7.0 <= clock.slept[0] <= 8.0
    assert sorted(server.times_asked().values())[-1] > 1
    entries = read_entries(tmp_path / "out/ledger.jsonl")
    assert [made.status for made in entries].count("lost") == 3


def test_an_answer_that_hangs_is_asked_for_again(server: MockServer, tmp_path: Path) -> None:
    server.faults.append(server.hang)
    assert collect(server, tmp_path, "--yes --timeout 0.5 --concurrency 1") == 0
    assert len(votes(tmp_path)) == 12


def test_calls_at_once_are_bounded(server: MockServer, tmp_path: Path) -> None:
    assert collect(server, tmp_path, "--yes --concurrency 2", n_prompts=10) == 0
    assert server.n_most_at_once <= 2


@pytest.mark.parametrize("option", ["--key-env LLM_KEY", "--key-file {folder}/key"])
def test_the_key_reaches_its_header_and_nothing_else(
    option: str,
    server: MockServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "key").write_text(KEY)
    monkeypatch.setenv("LLM_KEY", KEY)
    # Faults and answers that quote it.
    server.faults += [status(429), status(400), status(500, KEY)]
    server.reply = lambda body: f"{reply_to(body)} {KEY if body['model'] != 'judge' else ''}"
    line = option.format(folder=tmp_path)
    assert collect(server, tmp_path, f"--yes --concurrency 1 {line}") == 0
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert KEY not in text_of(capsys)
    for path in (tmp_path / "out").iterdir():
        assert KEY not in path.read_text()
        assert "[key]" in path.read_text() or path.name == "votes.jsonl"


def test_a_wrong_key_is_one_line_at_once(
    server: MockServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLM_KEY", KEY)
    server.faults += [status(401, f"Incorrect API key {KEY}")] * 99
    with pytest.raises(ValueError, match="refuses the key") as raised:
        collect(server, tmp_path, "--yes --key-env LLM_KEY --concurrency 4", n_prompts=50)
    assert KEY not in str(raised.value) + text_of(capsys)
    assert "\n" not in str(raised.value)
    assert "0 of " in str(raised.value)
    assert len(server.bodies) <= 4
    assert not (tmp_path / "out/votes.jsonl").exists()


def test_a_dry_run_sends_nothing_writes_nothing_and_needs_no_key(
    server: MockServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "--dry-run --key-env NOT_SET_ANYWHERE --prices ada=1/2 bob=1/2 cy=1/2 judge=3/15"
    assert collect(server, tmp_path, line) == 0
    assert server.bodies == []
    assert not (tmp_path / "out").exists()
    text = text_of(capsys)
    for words in ("ada", "judge (judge)", "at most", "cost", "all"):
        assert words in text


def test_a_dry_run_tells_what_is_known_and_leaves_the_ledger_alone(
    server: MockServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert collect(server, tmp_path) == 0
    with (tmp_path / "out/ledger.jsonl").open("ab") as file:
        file.write(b'{"torn')
    before = (tmp_path / "out/ledger.jsonl").read_bytes()
    capsys.readouterr()
    assert collect(server, tmp_path, "--dry-run", n_prompts=5) == 0
    assert (tmp_path / "out/ledger.jsonl").read_bytes() == before
    [row] = [row for row in text_of(capsys).splitlines() if row.startswith("all")]
    assert row.split()[1:3] == ["36", "9"]


def test_where_nobody_can_be_asked_nothing_is_sent_without_leave(
    server: MockServer, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="expected --yes, --max-cost or --max-tokens"):
        collect(server, tmp_path, "")
    assert server.bodies == []
    assert collect(server, tmp_path, "--max-tokens 100000000") == 0


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1), (None, 1)])
def test_on_a_terminal_one_is_asked_first(
    answer: str | None,
    code: int,
    server: MockServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(command.Console):
        is_terminal = True

        def input(self, prompt: object = "", **options: Any) -> str:
            assert "36 calls" in str(prompt)
            if answer is None:
                raise EOFError
            return answer

    monkeypatch.setattr(command, "Console", Terminal)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert collect(server, tmp_path, "") == code
    assert bool(server.bodies) == (code == 0)


def test_a_budget_is_kept_and_more_of_it_goes_on(
    server: MockServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = "--prices ada=1/1 bob=1/1 cy=1/1 judge=1/1 --answer-tokens 50 --verdict-tokens 50"
    assert collect(server, tmp_path, f"{prices} --max-cost 0.005", n_prompts=20) == 1
    text = text_of(capsys)
    assert "not finished: the next call might exceed the budget" in text
    spent = sum(
        made.tokens_in + made.tokens_out for made in read_entries(tmp_path / "out/ledger.jsonl")
    )
    assert 2500 < spent <= 5000
    n_asked = len(server.bodies)
    # The budget is of the folder, not of the run.
    assert collect(server, tmp_path, f"{prices} --max-cost 0.005", n_prompts=20) == 1
    assert len(server.bodies) - n_asked <= 3
    assert collect(server, tmp_path, f"{prices} --max-cost 1", n_prompts=20) == 0
    assert len(votes(tmp_path)) == 60
    assert set(server.times_asked().values()) == {1}


def test_what_was_refused_is_asked_again_only_if_that_is_wished(
    server: MockServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults.append(status(400, "not today"))
    assert collect(server, tmp_path, "--yes --concurrency 1") == 0
    assert len(votes(tmp_path)) == 10
    assert "refused or came back empty: 1" in text_of(capsys)
    assert collect(server, tmp_path, "") == 0
    assert len(votes(tmp_path)) == 10
    assert collect(server, tmp_path, "--yes --retry-failed") == 0
    assert len(votes(tmp_path)) == 12
    assert collect(server, tmp_path, "") == 0
    assert len(votes(tmp_path)) == 12


def test_calls_that_came_to_nothing_are_told_and_made_the_next_time(
    server: MockServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults += [status(503, "overloaded")] * 2
    assert collect(server, tmp_path, "--yes --retries 1 --concurrency 1") == 1
    text = text_of(capsys)
    assert "not finished: some calls came to nothing" in text
    assert "overloaded" in text
    assert collect(server, tmp_path) == 0
    assert len(votes(tmp_path)) == 12


def test_a_deadline_ends_the_work(
    server: MockServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert collect(server, tmp_path, "--yes --deadline 0") == 1
    assert "the deadline has passed; 0 of 36 calls are done" in text_of(capsys)
    assert server.bodies == []


def test_a_missing_extra_is_one_line(
    server: MockServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError("No module named 'aiohttp'", name="aiohttp")

    monkeypatch.setattr(command, "import_module", missing)
    with pytest.raises(ValueError, match=r"pip install 'triskele\[collect\]'"):
        collect(server, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_finishes_what_is_under_way_and_goes_on_later(
    number: signal.Signals,
    server: MockServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    numbers = iter(range(1000))

    def interrupt(body: dict[str, Any]) -> str:
        if next(numbers) == 9:
            os.kill(os.getpid(), number)
        return reply_to(body)

    server.reply = interrupt
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=r"of \d+ calls are done; the same command goes on"):
        collect(server, tmp_path)
    assert signal.getsignal(number) == before
    assert "finishing the calls under way" in text_of(capsys)
    entries = read_entries(tmp_path / "out/ledger.jsonl")
    assert 10 <= len(entries) == len(server.bodies) < 36
    assert collect(server, tmp_path) == 0
    assert len(votes(tmp_path)) == 12
    assert set(server.times_asked().values()) == {1}


def test_a_second_interruption_drops_what_is_under_way(
    server: MockServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Collector.stop

    def stop_and_be_impatient(self: Collector, reason: str, *, is_error: bool = False) -> None:
        stop(self, reason, is_error=is_error)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Collector, "stop", stop_and_be_impatient)
    hang = server.hang

    async def interrupt(request: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return await hang(request)

    server.faults += [interrupt, hang, hang]
    with pytest.raises(KeyboardInterrupt, match="0 of 36 calls are done"):
        collect(server, tmp_path, "--yes --concurrency 3")
    monkeypatch.undo()
    assert collect(server, tmp_path) == 0
    assert len(votes(tmp_path)) == 12


def test_killed_in_mid_run_it_goes_on_and_asks_nothing_twice(
    server: MockServer, tmp_path: Path
) -> None:
    server.hold_after = 20
    script = "import sys; from triskele.evaluate.collect.command import main; sys.exit(main())"
    line = arguments(server, tmp_path, "--yes --concurrency 3", n_prompts=8)
    with subprocess.Popen(
        [sys.executable, "-c", script, *line], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        server.wait_until_held()
        process.kill()
        _, error = process.communicate()
    assert process.returncode == -signal.SIGKILL, error
    path = tmp_path / "out/ledger.jsonl"
    # As if it had died in the middle of a line, too.
    with path.open("ab") as file:
        file.write(path.read_bytes()[:100])
    kept = {made.key for made in read_entries(path)}
    asked_before = server.times_asked()
    assert len(kept) >= 20 - 3
    server.release()
    assert collect(server, tmp_path, "--yes --concurrency 3", n_prompts=8) == 0
    assert len(votes(tmp_path)) == 24
    entries = read_entries(path)
    assert len(entries) == len({made.key for made in entries}) == 24 + 48
    # Only what was under way when the process died was asked a second time.
    twice = server.times_asked() - asked_before
    again = [body for body in twice if body in asked_before]
    assert len(again) <= 3
    assert len(server.bodies) == 24 + 48 + len(again)


def test_help_teaches_by_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for words in ("usage: triskele evaluate collect", "--dry-run", "--max-cost", "What would it"):
        assert words in text


def test_what_is_missing_or_unknown_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--prompts", "p.txt"])
    assert ended.value.code == 2
    assert "--models" in text_of(capsys)
