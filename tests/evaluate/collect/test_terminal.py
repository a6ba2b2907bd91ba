from io import StringIO

from rich.console import Console

from triskele.evaluate.collect.prices import Amount
from triskele.evaluate.collect.run import Progress
from triskele.evaluate.collect.terminal import Terminal


def progress(n_done: int, n_calls: int = 100, *, n_retries: int = 0) -> Progress:
    return Progress(
        n_done=n_done,
        n_calls=n_calls,
        n_under_way=3,
        n_retries=n_retries,
        spent=Amount(1000 * n_done, 0.5),
        trouble=None,
    )


def show(*shown: Progress, is_terminal: bool, has_prices: bool = True) -> str:
    file = StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=120)
    terminal = Terminal(console, has_prices=has_prices)
    with terminal.live():
        for one in shown:
            terminal.show(one)
        terminal.say("[a word]")
    return file.getvalue()


def test_where_there_is_no_terminal_a_line_is_written_per_tenth() -> None:
    text = show(*(progress(number) for number in range(101)), is_terminal=False)
    lines = text.splitlines()
    assert len(lines) == 12
    assert lines[1] == "10 of 100 calls, 10,000 tokens, cost 0.50"
    assert lines[-1] == "[a word]"


def test_a_terminal_has_one_live_line_with_all_figures() -> None:
    text = show(progress(7, n_retries=2), is_terminal=True)
    for word in ("7 of 100 calls", "3 under way", "7,000 tokens", "cost 0.50", "2 retries"):
        assert word in text
    assert "[a word]" in text


def test_without_prices_no_cost_is_told() -> None:
    assert "cost" not in show(progress(7), is_terminal=True, has_prices=False)


def test_nothing_to_do_is_no_reason_to_break() -> None:
    assert "0 of 0 calls" in show(progress(0, 0), is_terminal=False)
