"""Processes of a measurement: started, waited for, ended, and the CPU time that each took."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.record import ROOT

TICKS = os.sysconf("SC_CLK_TCK")
# Local addresses must not be sought through a proxy of the machine.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Process:
    """A child in a session of its own, so that its whole tree ends with it.

    One that speaks says on its standard output that it is ready; all else goes to the log.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        speaks: bool = True,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors:
            self.popen = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if speaks else errors,
                stderr=errors,
                start_new_session=True,
            )
        self.command = list(command)
        self.log = log

    def __enter__(self) -> "Process":
        """Return the process itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.stop()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.popen.pid

    def first_line(self) -> dict[str, Any]:
        """Return the JSON line that the process prints when it is ready."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.command[:4]} ended; see {self.log}")
        return dict(json.loads(line))

    def stop(self, number: int = signal.SIGTERM, seconds: float = 10.0) -> None:
        """End the process and its children, kindly at first."""
        for sent in (number, signal.SIGKILL):
            try:
                os.killpg(self.popen.pid, sent)
            except ProcessLookupError:
                break
            try:
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
            break
        self.popen.wait()
        if self.popen.stdout is not None:
            self.popen.stdout.close()


class MockWorker(Process):
    """A mock worker in a process, and what it can be asked."""

    def __init__(self, logs: Path, port: int = 0) -> None:
        command = [sys.executable, "-m", "benchmarks.gateways.worker", "--port", str(port)]
        super().__init__(command, logs / "worker.log")
        self.port: int = self.first_line()["port"]
        self.url = f"http://127.0.0.1:{self.port}"

    def pace(self, ttft: float, gap: float) -> None:
        """Set the seconds until the first token and between events."""
        call(f"{self.url}/pace", {"ttft": ttft, "gap": gap})

    def stats(self) -> dict[str, Any]:
        """Return its counts."""
        return call(f"{self.url}/stats")


def call(url: str, document: object = None, *, seconds: float = 10.0) -> dict[str, Any]:
    """Return the JSON that a URL answers; sends ``document`` when there is one."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with OPENER.open(request, timeout=seconds) as response:
        return dict(json.loads(response.read() or b"{}"))


def wait_until_answers(url: str, document: object, process: Process, seconds: float) -> None:
    """Return when a POST is answered with status 200; raise when that takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.popen.poll() is None:
        try:
            call(url, document)
        except (OSError, ValueError):  # what urllib raises is among them
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"no answer from {process.command[:4]}; see {process.log}")


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and its children, those that ended included."""
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            own = time.clock_gettime(_cpu_clock(int(entry.name)))
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        seconds[int(entry.name)] = own + (int(fields[13]) + int(fields[14])) / TICKS
    total = 0.0
    for number, spent in seconds.items():
        above = number
        while above != pid and above in parents:
            above = parents[above]
        total += spent if above == pid else 0.0
    return total


def _cpu_clock(pid: int) -> int:
    """Return what clock_getcpuclockid(3) does: utime + stime, but in ns and not in ticks."""
    return (~pid << 3) | 2
