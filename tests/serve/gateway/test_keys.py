import logging
import os
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triskele.serve.gateway.keys import (
    VARIABLE,
    KeyFile,
    bearer_token,
    keys_from_environment,
    parse_keys,
)
from triskele.serve.gateway.rate import Allowance

ANN, BEN = "sk-ann-0123456789", "sk-ben-0123456789"
BEN_HASHED = "sha256:" + sha256(BEN.encode()).hexdigest()
FILE = f"""
# who may come in
ann {ANN} 60 1000   # our own
  ben\t{BEN_HASHED.upper().replace("SHA256", "sha256")} - 5
"""


def test_keys_are_found_by_their_text_and_carry_name_and_limits() -> None:
    keys = parse_keys(FILE, source="keys.txt")
    ann, ben = keys.find(ANN.encode()), keys.find(BEN.encode())
    assert ann is not None
    assert ben is not None
    assert (ann.name, ann.allowance) == ("ann", Allowance(60, 1000))
    assert (ben.name, ben.allowance) == ("ben", Allowance(None, 5))
    assert (len(keys), keys.names) == (2, {"ann", "ben"})


def test_a_key_has_wishes_beside_its_limits() -> None:
    text = f"ann {ANN} 60 - margin=0.1 price-weight=2\nben {BEN} quality-weight=1 latency-weight=0"
    keys = parse_keys(text, source="x")
    ann, ben = keys.find(ANN.encode()), keys.find(BEN.encode())
    assert ann is not None
    assert ben is not None
    assert (ann.allowance, ann.wishes) == (Allowance(60, None), {"margin": 0.1, "price": 2.0})
    assert (ben.allowance, ben.wishes) == (Allowance(None, None), {"quality": 1, "latency": 0})


@pytest.mark.parametrize(
    "presented", [None, b"", b"ann", ANN.encode()[:-1], ANN.encode() + b" ", BEN_HASHED.encode()]
)
def test_anything_else_is_no_key(presented: bytes | None) -> None:
    assert parse_keys(FILE, source="keys.txt").find(presented) is None


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_no_bytes_break_the_look_up(presented: bytes) -> None:
    found = parse_keys(FILE, source="keys.txt").find(presented)
    assert (found is None) == (presented not in (ANN.encode(), BEN.encode()))


def test_neither_keys_nor_digests_are_in_any_representation() -> None:
    keys = parse_keys(FILE, source="keys.txt")
    ann = keys.find(ANN.encode())
    assert ann is not None
    shown = f"{keys!r} {ann!r} {keys} {ann}"
    assert ANN not in shown
    assert ann.digest.hex() not in shown
    assert repr(ann.digest) not in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x: expected at least one key, got none"),
        ("# nobody\n\n", "expected at least one key"),
        ("ann", "x, line 1: expected a name, a key, and up to two limits.* got 1 words"),
        (f"\nann {ANN} 1 2 3", "line 2: expected a name, a key.* got 5 words"),
        ("ann sk-tooshort", "line 1: expected a key of at least 16 characters"),
        ("ann sha256:12ab", "line 1: expected 64 hexadecimal digits after sha256:"),
        (f"ann {ANN} 0", "line 1: expected limits that are whole numbers above 0, or - for none"),
        (f"ann {ANN} 1.5", "line 1: expected limits"),
        (f"ann {ANN} 1 explore=0.5", "line 1: expected wishes as NAME=NUMBER, of margin, price-w"),
        (f"ann {ANN} margin=2", "line 1: expected a margin from 0 to 1, and weights of at least 0"),
        (f"ann {ANN} price-weight=nan", "line 1: expected a margin"),
        (f"ann {ANN} margin=", "line 1: expected a margin"),
        (f"ann {ANN}\nann {BEN}", "line 2: the name of line 1 again"),
        (f"ann {BEN}\nben {BEN_HASHED}", "line 2: the key of line 1 again"),
        (f'a"nn {ANN}', "line 1: expected a name of up to 64 letters"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_keys(text, source="x")


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_no_message_repeats_what_may_be_a_key(before: str, after: str) -> None:
    secret = "S3CR3T-S3CR3T-S3CR3T"
    message = ""
    try:
        parse_keys(f"{before}{secret}{after}", source="x")
    except ValueError as error:
        message = str(error)
    assert "S3CR3T" not in message


def test_keys_come_from_a_variable_in_lines_or_between_semicolons() -> None:
    for separator in ("\n", ";", " ; "):
        keys = keys_from_environment({VARIABLE: separator.join([f"ann {ANN}", f"ben {BEN} 7"])})
        assert keys is not None
        assert keys.names == {"ann", "ben"}
    assert keys_from_environment({}) is None
    with pytest.raises(ValueError, match="TRISKELE_API_KEYS: expected at least one key"):
        keys_from_environment({VARIABLE: ""})


def test_a_file_is_read_again_when_it_changes_and_only_then(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"ann {ANN}")
    file = KeyFile(path)
    first = file.keys
    assert not file.reload()
    assert file.keys is first
    path.write_text(f"ann {ANN}\nben {BEN}")
    assert file.reload()
    assert file.keys.find(BEN.encode()) is not None
    assert not file.reload()


def test_a_file_that_is_replaced_by_one_of_the_same_size_and_time_is_read(tmp_path: Path) -> None:
    path, other = tmp_path / "keys", tmp_path / "new"
    path.write_text(f"ann {ANN}")
    file = KeyFile(path)
    other.write_text(f"ben {BEN}")
    status = path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    assert file.reload()
    assert file.keys.names == {"ben"}


def test_a_change_with_errors_keeps_the_old_keys_and_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    path.write_text(f"ann {ANN}")
    file = KeyFile(path)
    with caplog.at_level(logging.WARNING):
        path.write_text(f"ann {ANN}\nben {BEN} many")
        assert not file.reload()
        assert not file.reload()
    assert file.keys.find(ANN.encode()) is not None
    assert file.keys.find(BEN.encode()) is None
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"API keys: {file.error}"
    assert "keys, line 2: expected limits" in line
    assert "the 1 keys from before stay valid" in line
    assert BEN not in line
    path.write_text(f"ben {BEN}")
    assert file.reload()
    assert file.error is None


def test_an_empty_or_missing_file_lets_nobody_in_and_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"ann {ANN}")
    file = KeyFile(path)
    path.write_text("")
    assert not file.reload()
    assert "expected at least one key" in str(file.error)
    path.unlink()
    assert not file.reload()
    assert "No such file" in str(file.error)
    assert file.keys.names == {"ann"}
    path.write_bytes(b"ann \xff\xff\xff\xff")
    assert not file.reload()
    assert "expected UTF-8" in str(file.error)
    path.write_text(f"ann {ANN}")
    assert file.reload()


def test_a_file_that_cannot_be_read_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        KeyFile(tmp_path / "none")


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (b"Bearer abc", b"abc"),
        (b"bearer  abc ", b"abc"),
        (b"Basic abc", None),
        (b"Bearer ", None),
        (b"abc", None),
        (None, None),
    ],
)
def test_a_token_is_taken_from_a_bearer_header(header: bytes | None, token: bytes | None) -> None:
    assert bearer_token(header) == token
