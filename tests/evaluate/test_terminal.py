from io import StringIO

from rich.console import Console
from rich.table import Table

from triskele.evaluate.terminal import Terminal, cell, clipped, printable


def terminal(width: int = 40) -> tuple[Terminal, StringIO]:
    written = StringIO()
    return Terminal(Console(file=written, width=width)), written


def test_a_step_is_a_plain_line_where_nobody_watches() -> None:
    here, written = terminal()
    with here.step("counting [votes]") as on_progress:
        on_progress(1, 2)
    assert written.getvalue() == "counting [votes] …\n"


def test_a_step_is_transient_where_somebody_does() -> None:
    written = StringIO()
    here = Terminal(Console(file=written, force_terminal=True, width=60))
    with here.step("counting") as on_progress:
        on_progress(1, 2)
    assert "counting" in written.getvalue()


def test_text_is_written_as_it_is() -> None:
    here, written = terminal()
    here.say("[red]a[/] " + "b" * 60)
    assert written.getvalue() == "[red]a[/] " + "b" * 60 + "\n"


def test_a_table_is_never_cut() -> None:
    here, written = terminal(width=10)
    table = Table(box=None)
    table.add_column("x", no_wrap=True)
    table.add_row("abcdefghijklmnopqrstuvwxyz")
    here.show(table)
    assert "abcdefghijklmnopqrstuvwxyz" in written.getvalue()


def test_control_characters_cannot_steer_a_terminal() -> None:
    assert printable("a\x1b[31mb\nc\x07") == "a�[31mb\nc�"
    assert cell("a\n[b]\tc") == "a \\[b] c"


def test_a_clipped_text_is_one_line() -> None:
    assert clipped(" a\n b  c ", 10) == "a b c"
    assert clipped("a long text", 7) == "a long…"
