"""Claim: no input makes the gateway fail, crash, hang, or pass on what it should not.

Hostile requests over raw sockets — spoilt request lines, fields, lengths and chunks, smuggling,
pipelines, slow and half-closed connections, other protocols — and hostile bodies, from a seed;
``--full`` adds schemathesis on the gateway's own OpenAPI page. Workers behind it hold what they are
sent to the strictest rules. Between batches a good request must be answered within a second.
"""

import argparse
import asyncio
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean, median
from typing import Any
from urllib.request import Request

import uvloop

from benchmarks.gateways.processes import OPENER, Process, call, free_port
from benchmarks.hostile import bodies, framing
from benchmarks.hostile.case import Case
from benchmarks.hostile.client import Result, send_all, tally
from benchmarks.record import RESULTS, SHORT, Figure, record

N_WORKERS = 2
N_FULL, N_SHORT, N_BATCH = 16_000, 1_600, 400
N_WARM = 8_000
N_EXAMPLES = 400
WELL_SECONDS = 1.0
TOKEN = "admin-0123456789abcdef"
GOAL_GROWTH = 2.0
HELLO = {"model": "mock", "messages": [{"role": "user", "content": "hello"}]}
FAILURE = re.compile(r"^  ❌ (ST\d+) .*: (\d+)$", re.MULTILINE)
SENT = re.compile(r"^triskele_worker_requests_total\{.*\} ([0-9.e+]+)$", re.MULTILINE)


def main() -> None:
    """Send it all, print one line per figure, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="more, and schemathesis")
    parser.add_argument("--n", type=int, help="raw requests")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    n = options.n or (N_FULL if options.full else N_SHORT)
    folder = Path(tempfile.mkdtemp(prefix="bad-input-"))
    attack = Attack(folder)
    try:
        attack.go(n, options.seed)
        if options.full:
            attack.schemathesis(options.seed)
        attack.look_over()
    finally:
        attack.stop()
        shutil.rmtree(folder, ignore_errors=True)
    record(
        "bad_input",
        list(figures_of(attack)),
        rows=rows_of(attack),
        seeds=[options.seed],
        directory=RESULTS if options.full else SHORT,
        notes=f"answers: {dict(tally(attack.results))}; {N_WORKERS} workers; what of the gateway's "
        "memory grew between a third of the raw requests and their end",
    )
    for result in attack.results:
        if result.fault or any(status >= 500 for status in result.statuses):
            data = b"".join(result.case.pieces)
            print(result.case.kind, result.statuses, result.fault, data[:300])
    for line in (*attack.logged[:20], *attack.worker_faults[:10], *attack.findings[:100]):
        print(line)


class Attack:
    """Workers, a gateway, and what was sent to it."""

    def __init__(self, folder: Path) -> None:
        self.results: list[Result] = []
        self.memory: list[tuple[int, float]] = []
        self.waits: list[float] = []
        self.n_hangs = self.n_crashes = self.n_smuggled = self.n_beyond = 0
        self.n_schemathesis = self.n_contradictions = 0
        self.schemathesis_statuses: Counter[int] = Counter()
        self.findings: list[str] = []
        self.worker_faults: list[str] = []
        self.logged: list[str] = []
        self._folder = folder
        self._workers = [
            Process([sys.executable, "-m", "benchmarks.hostile.worker"], folder / f"worker-{n}.log")
            for n in range(N_WORKERS)
        ]
        self._urls = [f"http://127.0.0.1:{each.first_line()['port']}" for each in self._workers]
        (folder / "token").write_text(TOKEN, encoding="utf-8")
        self._port = free_port()
        command = [sys.executable, "-m", "triskele.serve", f"--port={self._port}"]
        command += [f"--upstream={url}" for url in self._urls]
        command += [f"--admin-token={folder / 'token'}", f"--journal={folder / 'journal'}"]
        self._gateway = Process(command, folder / "gateway.log")
        self._gateway.first_line()
        self.url = f"http://127.0.0.1:{self._port}"

    def go(self, n: int, seed: int) -> None:
        """Send raw requests, half of them bad HTTP and half of them bad bodies."""
        rng = random.Random(seed)
        self._ask_well()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for _ in range(0, n, 2 * N_BATCH):
                half = min(N_BATCH, n // 2)
                self._send(runner, list(framing.cases(half, rng)))
                self._send(runner, list(bodies.cases(half, rng, token=TOKEN.encode())))
        print(f"{len(self.results)} raw requests", flush=True)

    def schemathesis(self, seed: int) -> None:
        """Let schemathesis try what the OpenAPI page says, and what it does not."""
        taking = "/(drain|resume)$|^/admin/workers/[^/]*$"
        self._run_schemathesis("all", seed, f"--exclude-path-regex={taking}")
        self._ask_well()
        # It finds the workers' names out, and takes them away: these are listed again.
        self._run_schemathesis("workers", seed, f"--include-path-regex={taking}")
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
        for url in self._urls:
            body = json.dumps({"url": url}).encode()
            with suppress(OSError):  # urllib's HTTPError is one: the worker is still listed
                OPENER.open(Request(f"{self.url}/admin/workers", body, headers), timeout=10).close()
            name = url.removeprefix("http://")
            resume = Request(f"{self.url}/admin/workers/{name}/resume", b"", headers)
            OPENER.open(resume, timeout=10).close()
        time.sleep(WELL_SECONDS)
        self._ask_well()
        print(f"{self.n_schemathesis} requests of schemathesis", flush=True)

    def _run_schemathesis(self, name: str, seed: int, chosen: str) -> None:
        told = self._folder / f"schemathesis-{name}.ndjson"
        command = [
            str(Path(sys.executable).parent / "st"),
            "run",
            f"{self.url}/openapi.json",
            chosen,
        ]
        command += ["--phases=examples,coverage,fuzzing", "--checks=all", "--mode=all"]
        command += [f"--max-examples={N_EXAMPLES}", f"--seed={seed}", "--continue-on-failure"]
        command += [f"--header=authorization: Bearer {TOKEN}", "--request-timeout=10"]
        command += ["--exclude-checks=ignored_auth", "--generation-database=none", "--no-shrink"]
        command += ["--report=ndjson", f"--report-ndjson-path={told}", "--no-color"]
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=False
        )
        for line in told.read_text("utf-8").splitlines():
            finished = json.loads(line).get("ScenarioFinished", {})
            for sent in finished.get("recorder", {}).get("interactions", {}).values():
                self.n_schemathesis += 1
                response = sent.get("response")
                status = response["status_code"] if isinstance(response, dict) else 0
                self.schemathesis_statuses[status] += 1
        for found in FAILURE.findall(done.stdout):
            self.n_contradictions += int(found[1])
        at = done.stdout.find("= FAILURES =")
        if at >= 0:
            self.findings += done.stdout[at:].splitlines()

    def look_over(self) -> None:
        """See what the workers saw, and what the gateway said."""
        seen = [call(f"{url}/seen") for url in self._urls]
        marks: Counter[str] = Counter()
        for each in seen:
            marks.update(each["marks"])
            self.worker_faults += each["faults"]
        barred = {each.case.barred: each.case for each in self.results if each.case.barred}
        for mark in marks.keys() & barred.keys():
            self.n_smuggled += marks[mark]
            self.findings.append(f"smuggled: {barred[mark]}")
        self.n_smuggled += sum(each["n_faults"] for each in seen)
        with OPENER.open(f"{self.url}/metrics", timeout=10) as response:
            n_sent = sum(float(value) for value in SENT.findall(response.read().decode()))
        self.n_beyond = max(0, sum(each["requests"] for each in seen) - int(n_sent))
        log = self._gateway.log.read_text("utf-8", "replace").splitlines()
        self.logged = [line for line in log if "ERROR" in line or "Traceback" in line]

    def stop(self) -> None:
        """End the processes."""
        self._gateway.popen.send_signal(signal.SIGTERM)
        for process in (self._gateway, *self._workers):
            process.stop()

    def _send(self, runner: asyncio.Runner, cases: Sequence[Case]) -> None:
        self.results += runner.run(send_all(self._port, cases))
        self._ask_well()
        status = Path(f"/proc/{self._gateway.pid}/status").read_text("ascii")
        kib = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
        self.memory.append((len(self.results), kib / 1024))

    def _ask_well(self) -> None:
        """Ask what must be answered."""
        if self._gateway.popen.poll() is not None:
            self.n_crashes += 1
            raise RuntimeError(f"the gateway ended: {self._gateway.log.read_text()[-2000:]}")
        began = time.monotonic()
        try:
            call(f"{self.url}/v1/chat/completions", HELLO, seconds=10 * WELL_SECONDS)
        except (OSError, ValueError) as error:
            self.findings.append(f"a good request failed: {error}")
            self.n_hangs += 1
        self.waits.append(time.monotonic() - began)
        self.n_hangs += self.waits[-1] > WELL_SECONDS


def figures_of(attack: Attack) -> Iterator[Figure]:
    """Yield what is claimed."""

    def none(name: str, value: float) -> Figure:
        return Figure(name=name, value=value, goal="0", holds=value == 0)

    n = len(attack.results) + attack.n_schemathesis
    statuses = Counter(status for result in attack.results for status in result.statuses)
    statuses.update(attack.schemathesis_statuses)
    yield Figure(name="hostile connections and requests", value=n)
    if attack.n_schemathesis:
        yield Figure(name="of schemathesis", value=attack.n_schemathesis)
        yield none("ways in which the OpenAPI page is wrong", attack.n_contradictions)
        yield none("not answered at all", attack.schemathesis_statuses[0])
    yield none("answers of 5xx", sum(n for status, n in statuses.items() if status >= 500))
    yield none("crashes", attack.n_crashes)
    yield none("good requests not answered within a second", attack.n_hangs)
    yield Figure(name="longest wait of a good request", value=1e3 * max(attack.waits), unit=" ms")
    yield none("answers missing or not HTTP", sum(r.fault is not None for r in attack.results))
    yield none("smuggled, or passed on in a form that is not canonical", attack.n_smuggled)
    yield none("requests at workers that nobody sent", attack.n_beyond)
    yield none("errors logged", len(attack.logged))
    grown = _growth(attack.memory)
    # Until then caches and the allocator's arenas fill.
    is_warm = len(attack.results) >= N_WARM
    yield Figure(
        name="growth of memory per 10,000",
        value=grown,
        unit=" MiB",
        goal=f"≤ {GOAL_GROWTH:g} MiB" if is_warm else None,
        holds=grown <= GOAL_GROWTH if is_warm else None,
    )


def _growth(memory: Sequence[tuple[int, float]]) -> float:
    """Return MiB per 10,000 requests, from the median of the middle third to that of the last."""
    third = max(1, len(memory) // 3)
    (n_before, before), (n_after, after) = (
        (fmean(n for n, _ in part), median(mib for _, mib in part))
        for part in (memory[third : 2 * third] or memory, memory[-third:])
    )
    return (after - before) / max(1.0, n_after - n_before) * 1e4


def rows_of(attack: Attack) -> list[dict[str, Any]]:
    """Return, for every kind of request, what came back."""
    by_kind: dict[str, list[Result]] = {}
    for result in attack.results:
        by_kind.setdefault(result.case.kind, []).append(result)
    rows: list[dict[str, Any]] = []
    for kind, results in sorted(by_kind.items()):
        statuses = Counter(status for result in results for status in result.statuses)
        n_none = sum(not result.statuses for result in results)
        told = {str(status): n for status, n in sorted(statuses.items())}
        rows.append({"kind": kind, "n": len(results), "statuses": told, "unanswered": n_none})
    if attack.n_schemathesis:
        told = {str(status): n for status, n in sorted(attack.schemathesis_statuses.items())}
        rows.append({"kind": "schemathesis", "n": attack.n_schemathesis, "statuses": told})
    rows += [{"kind": "memory", "n": n, "mib": round(mib, 1)} for n, mib in attack.memory]
    return rows


if __name__ == "__main__":
    main()
