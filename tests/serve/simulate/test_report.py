import json
from pathlib import Path

import pytest
from pyarrow import parquet
from rich.console import Console
from tests.serve.simulate.runs import result, run

from triskele import __version__
from triskele.serve.simulate.config import FleetOptions, ShapeOptions, SimulateConfig
from triskele.serve.simulate.report import (
    SUMMARY,
    Run,
    all_or_nothing,
    describe,
    summary_table,
    write_requests,
    write_summary,
)
from triskele.serve.simulate.result import COLUMNS


def shown(runs: list[Run], *, marked: bool = False) -> str:
    console = Console(width=100, force_terminal=marked, color_system="standard" if marked else None)
    with console.capture() as capture:
        console.print(summary_table(runs, slo=1.5))
    return capture.get()


def test_a_run_counts_how_its_requests_ended() -> None:
    made = run("lbgr", result(200, n_lost=5))
    assert (made.n_finished, made.n_rejected, made.n_failed) == (195, 2, 3)
    assert made.summary.n_requests == 200


def test_the_table_has_a_row_per_policy_and_says_what_it_counts() -> None:
    text = shown([run("lbgr", result()), run("random+rlt", result(slowness=3.0, n_lost=4))])
    assert "began within 1.5 s" in " ".join(text.split())
    rows = [line.split() for line in text.splitlines()]
    [lbgr] = [row for row in rows if row[:1] == ["lbgr"]]
    [random] = [row for row in rows if row[:1] == ["random"]]
    assert len(lbgr) == len(random) == 10
    assert (lbgr[-1], random[-1]) == ("0", "4")
    assert ["+rlt"] in rows
    assert float(random[1]) > float(lbgr[1])


def test_the_best_of_each_column_stands_out_where_there_is_a_choice() -> None:
    fast, slow = run("lbgr", result()), run("random", result(slowness=3.0))
    bold_green = "\x1b[1;32m"
    assert bold_green not in shown([fast], marked=True)
    assert bold_green not in shown([fast, run("random", result())], marked=True)
    [row] = [line for line in shown([slow, fast], marked=True).splitlines() if "lbgr" in line]
    assert row.count(bold_green) == 6, "both TTFTs, both latencies, throughput, goodput"
    [row] = [line for line in shown([slow, fast], marked=True).splitlines() if "random" in line]
    assert bold_green not in row


def test_seeds_become_means_and_deviations() -> None:
    runs = [run("lbgr", result(slowness=1.0 + seed), seed=seed) for seed in (0, 1)]
    values = [made.summary.latency_p50 for made in runs]
    text = shown(runs)
    assert f"{sum(values) / 2:#.3g}" in text
    assert f"±{abs(values[0] - values[1]) / 2**0.5:.2f}" in text


def test_figures_that_do_not_exist_are_dashes_and_nulls(tmp_path: Path) -> None:
    made = run("lbgr", result(4, n_lost=4))
    assert "–" in shown([made])
    assert "nan" not in shown([made])
    write_summary(tmp_path / SUMMARY, SimulateConfig(), [made])
    [record] = json.loads((tmp_path / SUMMARY).read_text())["runs"]
    assert record["figures"]["ttft_p50"] is None
    assert record["requests"] == {
        "n_requests": 4,
        "n_finished": 0,
        "n_rejected": 2,
        "n_failed": 2,
        "n_abandoned": 0,
    }


def test_the_summary_says_what_was_asked_for_and_what_came_of_it(tmp_path: Path) -> None:
    config = SimulateConfig(trace=Path("a.csv"), seeds=2, fleet=FleetOptions(workers=7))
    runs = [run("lbgr+rlt", result(), seed=seed) for seed in (0, 1)]
    write_summary(tmp_path / SUMMARY, config, runs)
    read = json.loads((tmp_path / SUMMARY).read_text())
    assert read["triskele"] == __version__
    assert read["config"]["trace"] == "a.csv"
    assert read["config"]["fleet"]["workers"] == 7
    assert read["seeds"] == [0, 1]
    assert [made["file"] for made in read["runs"]] == [made.file for made in runs]
    assert read["runs"][1]["figures"]["ttft_p95"] == runs[1].summary.ttft_p95


def test_every_request_is_a_row_with_its_times_words_and_policy(tmp_path: Path) -> None:
    of = result(50, n_lost=2, predicts=True)
    path = tmp_path / "some.parquet"
    write_requests(path, run("dynamo+rlt", of, seed=3), of)
    table = parquet.read_table(path)
    assert table.column_names == [*COLUMNS, "router", "eviction", "seed"]
    rows = table.to_pylist()
    assert len(rows) == 50
    first, last = rows[0], rows[-1]
    assert first["id"] == 0
    assert first["status"] == "finished"
    assert first["worker"] == of.workers[int(of["worker"][0])]
    assert first["first_token"] == of["first_token"][0]
    assert isinstance(first["n_cached"], int)
    assert (first["router"], first["eviction"], first["seed"]) == ("dynamo", "rlt", 3)
    assert last["status"] == "rejected"
    assert last["worker"] is last["finished"] is last["predicted_ttft"] is None
    known = json.loads(table.schema.metadata[b"triskele"])
    assert known["triskele"] == __version__
    assert known["page_size"] == 16
    assert known["requests"]["n_requests"] == 50


def test_a_description_names_what_is_not_as_usual() -> None:
    assert describe(SimulateConfig(), 4096) == "gsp: 4,096 requests on 4 × llama-8b-l40, seed 0"
    config = SimulateConfig(
        workload="loogle",
        trace=Path("some/documents.jsonl"),
        seeds=3,
        fleet=FleetOptions(workers=1000, hardware=("a", "b")),
        shape=ShapeOptions(rate=2.5, lengths=(10, 20), page_size=32),
    )
    assert describe(config, 7) == (
        "loogle (documents.jsonl), rate 2.5, lengths 10 20, page size 32: "
        "7 requests on 1,000 × a and b, seeds 0 to 2"
    )


def test_files_appear_together_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    with all_or_nothing(out) as folder:
        (folder / SUMMARY).write_text("{}")
        (folder / "other").write_text("")
        assert [path.name for path in out.iterdir()] == [folder.name]
    assert {path.name for path in out.iterdir()} == {SUMMARY, "other"}


def test_an_interruption_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / SUMMARY).write_text("old")

    def interrupted() -> None:
        with all_or_nothing(tmp_path) as folder:
            (folder / SUMMARY).write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == [SUMMARY]
    assert (tmp_path / SUMMARY).read_text() == "old"
