import gzip
import lzma
from pathlib import Path

import msgspec
import pytest

from triskele.serve.simulate.files import entries_of, lines_of


class Entry(msgspec.Struct):
    n: int


def write(path: Path, text: str) -> Path:
    pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(text.encode()))
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.xz"])
def test_lines_come_with_their_place_and_blank_ones_are_left_out(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "one\n\n  \ntwo")
    assert list(lines_of(path)) == [(f"{path}, line 1", b"one\n"), (f"{path}, line 4", b"two")]


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.json.xz"])
def test_a_list_and_lines_hold_the_same_entries(tmp_path: Path, name: str) -> None:
    as_list = write(tmp_path / name, '\n [{"n": 1},\n\n {"n": 2, "more": "]"}]\n')
    assert [entry.n for _, entry in entries_of(as_list, Entry)] == [1, 2]
    as_lines = write(tmp_path / name, '{"n": 1}\n{"n": 2, "more": null}\n')
    assert [entry.n for _, entry in entries_of(as_lines, Entry)] == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"n": 1}\n{"n": }\n', r"a\.json, line 2: JSON is malformed"),
        ('{"n": 1}\n\n{"n": "x"}\n', r"a\.json, line 3: Expected `int`, got `str`"),
        ("{}\n", r"a\.json, line 1: .*missing required field `n`"),
        ('[{"n": 1}, {"m": 1}]', r"a\.json, entry 2: .*missing required field `n`"),
        ('[{"n": 1}, {"n": 2}', r"a\.json: Input data was truncated"),
        ("[]", r"at least one entry, the list in .*a\.json is empty"),
        ("\n \n", r"at least one line, .*a\.json is empty"),
        ("", r"at least one line, .*a\.json is empty"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "a.json", text)
    with pytest.raises(ValueError, match=message):
        list(entries_of(path, Entry))


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    class Word(msgspec.Struct):
        word: str

    path = tmp_path / "a.json"
    path.write_bytes(b'{"word": "a"}\n{"word": "\xff"}\n')
    with pytest.raises(ValueError, match="line 2"):
        list(entries_of(path, Word))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is none at .*nowhere"):
        list(lines_of(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["a.gz", "a.xz"])
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "some line\n" * 1000)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"a\..z is damaged"):
        list(lines_of(path))
    path.write_bytes(b"no such format")
    with pytest.raises(ValueError, match=r"a\..z is damaged"):
        list(lines_of(path))
