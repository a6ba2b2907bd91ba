"""The short forms of claims about a running gateway: what they find right must be right here, too.

Times and ratios are for quiet machines and for the long forms; nothing of them is asserted.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHORT = ROOT / "benchmarks" / "claims" / "results" / "short"


def figures(name: str, *options: str) -> dict[str, float]:
    """Run a claim in its short form; return what it found, by the figures' names."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.claims.{name}", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads((SHORT / f"{name}.json").read_text("utf-8"))
    return {each["name"]: each["value"] for each in document["figures"]}


def assert_none(found: dict[str, float], names: Iterable[str]) -> None:
    wrong = {name: found[name] for name in names if found[name] != 0}
    assert not wrong


def test_chaos_loses_doubles_and_leaves_nothing() -> None:
    found = figures("chaos", "--seconds", "25")
    assert found["requests"] > 500
    assert_none(
        found,
        (
            "lost",
            "wrong answers",
            "answers to nobody's request",
            "cut off for no reason",
            "missing in the journal",
            "twice in the journal",
            "otherwise in the journal",
            "left over: tasks",
            "left over: requests",
            "left over: client sockets",
            "left over: half-closed sockets",
            "drains that cut requests off",
        ),
    )


def test_bad_input_harms_nobody() -> None:
    found = figures("bad_input", "--n", "1600")
    assert found["hostile connections and requests"] >= 1600
    assert_none(
        found,
        (
            "answers of 5xx",
            "crashes",
            "answers missing or not HTTP",
            "smuggled, or passed on in a form that is not canonical",
            "requests at workers that nobody sent",
            "errors logged",
        ),
    )


def test_a_gateway_under_load_fails_nobody_and_passes_aborts_on() -> None:
    found = figures("gateway_overhead")
    assert_none(found, ("errors under load", "failed of 30 requests, one of two workers dead"))
    # A worker that never hears of an abort is no number.
    assert found["abort until the worker knows, whole, slowest of 4"] < 5000
    assert found["abort until the worker knows, stream, slowest of 4"] < 5000


def test_engines_behind_the_gateway_are_measured_and_foretold() -> None:
    found = figures("real_latency")
    assert 0 < found["hit rate, lbgr+rlt"] < 100
    assert found["throughput, lbgr+rlt over cache-aware+lru"] > 0.5
