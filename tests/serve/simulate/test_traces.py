import gzip
import json
import lzma
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.workload import WorkloadContract

from triskele.serve.cache import hash_key
from triskele.serve.cache.offline import number_prefixes, unlimited_hits
from triskele.serve.cache.radix import HASH_BYTES
from triskele.serve.simulate.traces import AzureTrace, MooncakeTrace
from triskele.serve.simulate.workload import Workload

# Milliseconds, tokens of prompt and answer, blocks.
ROWS = [
    (0, 1200, 30, [0, 1, 2]),
    (0, 512, 1100, [0]),
    (3000, 1030, 5, [0, 1, 3]),
    (9000, 100, 0, [4]),
]
AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.4799600,30,0
2023-11-16 18:17:05.9799600,110,27
"""


def row(at: float, n_prompt: int, n_output: int, blocks: list[int]) -> dict[str, object]:
    return {
        "timestamp": at,
        "input_length": n_prompt,
        "output_length": n_output,
        "hash_ids": blocks,
    }


def mooncake(folder: Path, rows: list[tuple[float, int, int, list[int]]] = ROWS) -> Path:
    path = folder / "trace.jsonl"
    path.write_text("".join(json.dumps(row(*values)) + "\n" for values in rows))
    return path


def azure(folder: Path, text: str = AZURE) -> Path:
    path = folder / "trace.csv"
    path.write_text(text)
    return path


class TestMooncakeTrace(WorkloadContract):
    def make(self, folder: Path) -> Workload:
        return MooncakeTrace(mooncake(folder))


class TestShrunkMooncakeTrace(WorkloadContract):
    def make(self, folder: Path) -> Workload:
        return MooncakeTrace(mooncake(folder), shrink=512)


class TestMooncakeTraceOfFullBlocks(WorkloadContract):
    def make(self, folder: Path) -> Workload:
        return MooncakeTrace(mooncake(folder), shrink=4, partial_last=True)


class TestAzureTrace(WorkloadContract):
    def make(self, folder: Path) -> Workload:
        return AzureTrace(azure(folder))


def test_only_whole_blocks_are_in_the_key(tmp_path: Path) -> None:
    jobs = list(MooncakeTrace(mooncake(tmp_path)).arrivals())
    assert [job.key for job in jobs] == [hash_key(ids) for ids in ([0, 1], [0], [0, 1], [])]
    assert [job.n_prompt for job in jobs] == [1200, 512, 1030, 100]
    assert [job.n_output for job in jobs] == [30, 1100, 5, 1]
    assert [job.at for job in jobs] == [0.0, 0.0, 3.0, 9.0]


def test_the_last_block_counts_as_full_where_that_is_asked(tmp_path: Path) -> None:
    jobs = list(MooncakeTrace(mooncake(tmp_path), partial_last=True).arrivals())
    assert [job.key for job in jobs] == [hash_key(blocks) for *_, blocks in ROWS]
    assert [job.n_prompt for job in jobs] == [1536, 512, 1536, 512]


def test_answers_fill_pages_that_nobody_shares(tmp_path: Path) -> None:
    jobs = list(MooncakeTrace(mooncake(tmp_path)).arrivals())
    answers = [page for job in jobs for page in np.frombuffer(job.key_after, "<u8")[2:]]
    assert len(set(answers)) == len(answers) == 1
    assert min(answers) >= 2**63


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=9), st.sampled_from([1, 2, 16, 256]))
def test_shrinking_divides_lengths_and_keeps_the_keys(lengths: list[int], shrink: int) -> None:
    rows = [(0, length, 7, list(range(-(-length // 512)))) for length in lengths]
    with TemporaryDirectory() as folder:
        path = mooncake(Path(folder), rows)
        whole, shrunk = MooncakeTrace(path), MooncakeTrace(path, shrink=shrink)
    assert shrunk.page_size == 512 // shrink
    for job, small in zip(whole.arrivals(), shrunk.arrivals(), strict=True):
        assert small.n_prompt == max(1, job.n_prompt // shrink)
        assert small.key == job.key


def test_a_slice_is_sorted_and_begins_at_zero_and_runs_faster(tmp_path: Path) -> None:
    path = mooncake(tmp_path, [ROWS[3], *ROWS[:3]])
    whole = list(MooncakeTrace(path).arrivals())
    assert [job.n_prompt for job in whole] == [1200, 512, 1030, 100]
    part = list(MooncakeTrace(path, start=2, limit=5, speed=2.0).arrivals())
    assert [(job.at, job.n_prompt) for job in part] == [(0.0, 1030), (3.0, 100)]
    assert MooncakeTrace(path, limit=1).n_jobs == 1


def test_hits_of_an_unlimited_cache_are_counted_in_blocks(tmp_path: Path) -> None:
    jobs = MooncakeTrace(mooncake(tmp_path), partial_last=True).arrivals()
    assert unlimited_hits(number_prefixes((job.key for job in jobs), HASH_BYTES)) == 3


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_compressed_traces_are_read_as_they_are(tmp_path: Path, suffix: str, pack: object) -> None:
    for path, kind in ((mooncake(tmp_path), MooncakeTrace), (azure(tmp_path), AzureTrace)):
        packed = path.with_suffix(path.suffix + suffix)
        packed.write_bytes(pack(path.read_bytes()))
        assert list(kind(packed).arrivals()) == list(kind(path).arrivals())


GOOD = json.dumps(row(*ROWS[0]))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "Input data was truncated"),
        ("{]", "JSON is malformed"),
        (json.dumps({"timestamp": 1}), "missing required field `input_length`"),
        (json.dumps(row(-1, 1200, 30, [0, 1, 2])), "Expected `float` >= 0"),
        (json.dumps(row(0, 0, 30, [])), "Expected `int` >= 1"),
        (json.dumps(row(0, 1200, -30, [0, 1, 2])), "Expected `int` >= 0"),
        (json.dumps(row(0, 1200, 30, [0, 1, -2])), "Expected `int` >= 0"),
        (json.dumps(row(0, 1200, 30, [0, 1, 2**63])), "Expected `int` <="),
        (json.dumps(row(0, 1200, 30, [0, 1])), "expected 3 hash_ids for 1200 tokens .*got 2"),
    ],
)
def test_a_malformed_line_of_mooncake_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(f"{GOOD}\n{GOOD}\n{line}\n{GOOD}\n")
    with pytest.raises(ValueError, match=rf"trace\.jsonl, line 3: .*{message}"):
        MooncakeTrace(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shrink": 3}, "shrink to divide 512, got 3"),
        ({"shrink": 0}, "shrink of at least 1, got 0"),
        ({"speed": 0.0}, "finite speed above 0"),
        ({"start": -1}, "start of at least 0, got -1"),
        ({"start": 4}, "more than 4 requests in .*got 4"),
        ({"limit": 0}, "limit of at least 1, got 0"),
    ],
)
def test_impossible_parts_are_refused(
    tmp_path: Path, options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MooncakeTrace(mooncake(tmp_path), **options)


def test_requests_of_azure_share_nothing(tmp_path: Path) -> None:
    jobs = list(AzureTrace(azure(tmp_path), page_size=10).arrivals())
    assert [job.at for job in jobs] == pytest.approx([0.0, 0.5, 2.0])
    assert [(job.n_prompt, job.n_output) for job in jobs] == [(4808, 10), (30, 1), (110, 27)]
    assert unlimited_hits(number_prefixes((job.key_after for job in jobs), HASH_BYTES)) == 0


def test_azure_is_cut_sped_up_and_shrunk(tmp_path: Path) -> None:
    (job,) = AzureTrace(azure(tmp_path), start=2, limit=1, shrink=4).arrivals()
    assert (job.at, job.n_prompt, job.n_output) == (0.0, 27, 6)
    *_, last = AzureTrace(azure(tmp_path), speed=4.0).arrivals()
    assert last.at == pytest.approx(0.5)


def test_columns_of_azure_may_stand_in_any_order_and_times_have_a_zone(tmp_path: Path) -> None:
    text = "\ufeffGeneratedTokens,Model,ContextTokens,TIMESTAMP\r\n"
    text += "7,x,100,2024-05-10 00:00:02+00:00\r\n9,y,50,2024-05-10 00:00:01.5+00:00\r\n"
    path = tmp_path / "trace.csv"
    path.write_bytes(text.encode())
    jobs = list(AzureTrace(path).arrivals())
    assert [(job.at, job.n_prompt, job.n_output) for job in jobs] == [(0.0, 50, 9), (0.5, 100, 7)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2023-11-16 18:17:03,5", "expected 3 fields, got 2"),
        ("yesterday,5,5", "expected a date and time, got 'yesterday'"),
        ("2023-11-16 18:17:03,-5,5", "expected a count of tokens, got '-5'"),
        ("2023-11-16 18:17:03,5,5.5", "expected a count of tokens, got '5.5'"),
        ("2023-11-16 18:17:03,5," + "9" * 30, "expected a count of tokens, got '9+'"),
    ],
)
def test_a_malformed_line_of_azure_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"trace\.csv, line 5: {message}"):
        AzureTrace(azure(tmp_path, f"{AZURE}{line}\n"))


def test_azure_without_its_header_or_without_requests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 1: expected the columns TIMESTAMP,"):
        AzureTrace(azure(tmp_path, "2023-11-16 18:17:03,5,5\n"))
    with pytest.raises(ValueError, match=r"more than 0 requests in .*got 0"):
        AzureTrace(azure(tmp_path, AZURE.splitlines()[0]))
    with pytest.raises(ValueError, match="is empty"):
        MooncakeTrace(azure(tmp_path, "\n"))
