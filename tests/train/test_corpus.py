import gzip
import lzma

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triskele.train import corpus as corpus_module
from triskele.train.corpus import is_held_out, open_corpus


def texts(path, **options):
    return [piece.text for piece in open_corpus(path, **options)]


def test_a_separator_line_ends_a_document(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("one\ntwo\n<|endoftext|>\nthree <|endoftext|> on one line\n")
    pieces = list(open_corpus(path))
    assert [x.text for x in pieces] == ["one\ntwo\n", "three <|endoftext|> on one line\n"]
    assert all(x.ends_document for x in pieces)


def test_empty_documents_are_left_out(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("<|endoftext|>\n<|endoftext|>\na\n<|endoftext|>\n")
    assert texts(path) == ["a\n"]


@given(lines=st.lists(st.sampled_from(["a\n", "six  \n", "\n", "<|endoftext|>\n"]), max_size=40))
@settings(max_examples=80, deadline=None)
def test_pieces_put_together_are_the_text_without_separators(tmp_path_factory, lines):
    path = tmp_path_factory.getbasetemp() / "pieces.txt"
    text = "x\n" + "".join(lines)
    path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "PIECE_CHARACTERS", 15)
        pieces = list(open_corpus(path))
    assert "".join(x.text for x in pieces) == text.replace("<|endoftext|>\n", "")
    documents = [x for x in text.split("<|endoftext|>\n") if x]
    assert sum(x.ends_document for x in pieces) == len(documents)


def test_a_long_document_is_cut_at_line_ends_and_ends_once(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_module, "PIECE_CHARACTERS", 10)
    path = tmp_path / "book.txt"
    path.write_text("word\n" * 7)
    pieces = list(open_corpus(path))
    assert [x.text for x in pieces] == ["word\nword\n"] * 3 + ["word\n"]
    assert [x.ends_document for x in pieces] == [False, False, False, True]


def test_a_line_without_end_does_not_need_to_fit_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_module, "PIECE_CHARACTERS", 10)
    path = tmp_path / "line.txt"
    path.write_text("x" * 35)
    assert [len(text) for text in texts(path)] == [10, 10, 10, 5]


@pytest.mark.parametrize(("suffix", "opener"), [(".gz", gzip.open), (".xz", lzma.open)])
def test_compressed_text_is_read(tmp_path, suffix, opener):
    path = tmp_path / f"text.txt{suffix}"
    with opener(path, "wt") as stream:
        stream.write("a\n<|endoftext|>\nb\n")
    assert texts(path) == ["a\n", "b\n"]


def test_a_folder_is_read_in_order_without_binaries_and_hidden_files(tmp_path):
    for name, content in {
        "b.py": b"b\n",
        "a/z.md": b"a\n",
        ".git/config": b"hidden\n",
        "__pycache__/b.pyc": b"cached\n",
        "picture.png": b"\x89PNG\0\0",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert texts(tmp_path) == ["a\n", "b\n"]


def test_the_output_folder_inside_the_data_is_not_read(tmp_path):
    (tmp_path / "a.txt").write_text("a\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "sample.txt").write_text("written by the run\n")
    assert texts(tmp_path, leave_out=tmp_path / "run") == ["a\n"]


def test_invalid_utf8_is_replaced(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    assert texts(tmp_path) == ["caf\N{REPLACEMENT CHARACTER}\n"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "is empty"),
        ("image.txt", b"\0\1\2", "is not text"),
        ("text.gz", b"not gzip", "is not text"),
        ("text.xz", b"not xz", "is not text"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_corpus(tmp_path / name)


def test_a_missing_file_and_a_folder_without_text_are_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        open_corpus(tmp_path / "nothing.txt")
    (tmp_path / "picture.png").write_bytes(b"\0")
    with pytest.raises(ValueError, match="holds no text files"):
        open_corpus(tmp_path)


def test_a_truncated_archive_is_refused_while_reading(tmp_path):
    path = tmp_path / "text.xz"
    path.write_bytes(lzma.compress(bytes(range(1, 256)) * 4000)[:-40])
    with pytest.raises(ValueError, match=r"text\.xz is damaged"):
        texts(path)


def test_equal_texts_fall_on_the_same_side_and_the_share_is_kept():
    held_out = [is_held_out(f"document {i}", 0.1) for i in range(4000)]
    assert held_out == [is_held_out(f"document {i}", 0.1) for i in range(4000)]
    assert 0.08 < sum(held_out) / 4000 < 0.12


def test_a_larger_share_holds_out_the_same_documents_and_more():
    for number in range(500):
        if is_held_out(f"{number}", 0.05):
            assert is_held_out(f"{number}", 0.2)


def test_the_fingerprint_changes_with_the_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    before = open_corpus(tmp_path).fingerprint()
    assert before == open_corpus(tmp_path).fingerprint()
    path.write_text("two")
    changed = open_corpus(tmp_path).fingerprint()
    (tmp_path / "b.txt").write_text("more")
    assert len({before, changed, open_corpus(tmp_path).fingerprint()}) == 3
