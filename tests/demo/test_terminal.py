import io
from pathlib import Path

import pytest
from rich.console import Console
from tests.demo.small_demo import findings

from triskele.demo.terminal import Terminal, milliseconds, show_findings, steps


def console(*, is_terminal=False):
    return Console(file=io.StringIO(), width=120, force_terminal=is_terminal, color_system=None)


def test_on_a_terminal_every_stage_is_a_bar():
    screen = console(is_terminal=True)
    with Terminal(screen) as terminal:
        terminal.begin("code: [DynMuon]", 10)
        terminal.begin("english", 5)
        terminal.advance("english", 2)
        terminal.advance("code: [DynMuon]", 10, "10/10  [loss]")
    shown = screen.file.getvalue()
    assert "code: [DynMuon]" in shown
    assert "10/10  [loss]" in shown
    assert "━" in shown


def test_elsewhere_a_stage_is_one_line_when_it_is_done():
    times = iter([0.0, 61.0, 99.0])
    screen = console()
    with Terminal(screen, clock=lambda: next(times)) as terminal:
        terminal.begin("a stage", 2)
        terminal.advance("a stage", 1, "half")
        terminal.advance("a stage", 2, "all of it")
        terminal.advance("a stage", 2, "again")
        terminal.say("a [sentence]")
    lines = screen.file.getvalue().splitlines()
    assert [" ".join(line.split()) for line in lines] == ["a stage 1:01 all of it", "a [sentence]"]


def test_the_tables_have_what_was_found():
    screen = console()
    show_findings(screen, findings(), Path("demo/index.html"))
    shown = screen.file.getvalue()
    for said in (
        "round-robin",
        "lbgr",
        "106 ms",
        "40%",
        "29.2% saved",
        "version 1 published",
        "92%",
        "2:40 in all",
        "demo/index.html",
    ):
        assert said in shown


def test_what_did_not_work_out_is_said():
    screen = console()
    lost = findings(published=False, contender=(6.0, 5.0, 4.0, 3.0, 2.8))
    show_findings(screen, lost, Path("page"))
    assert "not published" in screen.file.getvalue()
    assert "not reached" in screen.file.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0.0123, "12 ms"), (1.5, "1500 ms")])
def test_times_are_in_milliseconds(seconds, text):
    assert milliseconds(seconds) == text


def test_steps_are_whole_or_not_reached():
    assert steps(41.6) == "42"
    assert steps(None) == "not reached"
