import os
import signal

import pytest
from tests.demo.small_demo import findings

from triskele import cli
from triskele.demo import Scale
from triskele.demo import __main__ as command


@pytest.fixture
def asked(monkeypatch):
    """Let the demonstration be one that is over at once, and return what it was asked."""
    calls = []

    def run(config, *, scale, watcher):
        calls.append((config, scale))
        return findings()

    monkeypatch.setattr(command, "run_demo", run)
    return calls


def test_options_reach_the_demonstration_and_the_tables_are_shown(asked, tmp_path, capsys):
    out = tmp_path / "demo"
    assert cli.main(["demo", "--out", str(out), "--seed", "3", "--steps", "7"]) == 0
    ((config, scale),) = asked
    assert (config.out, config.seed, config.steps) == (out, 3, 7)
    assert scale == Scale()
    shown = capsys.readouterr().out.replace("\n", "")
    assert "queries sent to the right model" in shown
    assert str(out / "index.html") in shown


def test_sigterm_interrupts_like_ctrl_c_and_is_itself_again_afterwards(monkeypatch, capsys):
    def run(config, *, scale, watcher):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(command, "run_demo", run)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["demo"]) == cli.INTERRUPTED
    assert capsys.readouterr().err == "triskele demo: interrupted\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_could_not_be_done_is_one_line(monkeypatch, capsys):
    def run(config, *, scale, watcher):
        raise ValueError("a process did not start; see log")

    monkeypatch.setattr(command, "run_demo", run)
    assert cli.main(["demo"]) == cli.FAILED
    assert capsys.readouterr().err == "triskele demo: a process did not start; see log\n"
