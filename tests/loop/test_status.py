from tests.loop.worlds import true_table

from triskele.loop.status import line_of, status_of
from triskele.loop.verdict import History, Verdict


def test_a_verdict_is_one_line() -> None:
    verdict = Verdict(
        time=0.0, published=True, version=3, n=70, n_new=20, n_problems=2,
        reasons=("better:\n  much",), alarms=("source x is quarantined", "drift"),
    )  # fmt: skip
    line = line_of(verdict)
    assert "\n" not in line
    assert line == (
        "1970-01-01 00:00:00Z published version 3: better: much (70 pieces of evidence, 20 new) "
        "(2 could not be used) ALARM: source x is quarantined ALARM: drift"
    )
    assert "version 1 stays: waits" in line_of(Verdict(time=0.0, version=1, reasons=("waits",)))
    assert "nothing is published: waits" in line_of(Verdict(time=0.0, reasons=("waits",)))
    back = Verdict(time=0.0, kind="rollback", published=True, version=1)
    assert "back to version 1" in line_of(back)


def test_a_status_says_what_is_served_and_what_is_not_believed() -> None:
    verdicts = [Verdict(time=float(n), reasons=(f"reason {n}",)) for n in range(9)]
    verdicts.append(Verdict(time=9.0, quarantined={"dia": "lies"}, until=9.0))
    lines = status_of(true_table(), [0, 1, 2], verdicts, History(refused=((0.0, 60.0),)))
    text = "\n".join(lines)
    for words in ("version 0 is current; there are also 1, 2", "coder", "dia: lies", "reason 8",
                  "1970-01-01 00:01:00Z", "--release"):  # fmt: skip
        assert words in text
    assert "reason 3" not in text
    order = [line.split()[-1] for line in lines if line.startswith("    0.")]
    assert order[0] in ("coder", "historian")


def test_before_the_first_table_a_status_says_so() -> None:
    assert status_of(None, [], [], History()) == ["no table is published yet"]
