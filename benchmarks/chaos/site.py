"""The processes of a run: workers and a gateway that are ended, hung and started again."""

import asyncio
import json
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.chaos.faults import GATEWAY, MURDER, TERMINATE, Fault, Mark
from benchmarks.gateways.processes import OPENER, Process, call, free_port

KEY = "sk-chaos-0123456789abcdef"
DRAIN_SECONDS = 30.0
PAGE = os.sysconf("SC_PAGE_SIZE")
READY = re.compile(r'^triskele_worker_state\{.*state="ready".*\} 1.0$', re.MULTILINE)
HELD = re.compile(
    r"^triskele_engine_(?:cache_pages_reserved|requests_running|requests_waiting)\{.*\} (\d+)$",
    re.MULTILINE,
)
ESTABLISHED, CLOSE_WAIT = "01", "08"


@dataclass(frozen=True, slots=True)
class Sample:
    """The gateway's memory at one time, and in which of its lives; blocks now and then."""

    at: float
    life: int
    rss_bytes: int
    in_flight: int
    n_blocks: int | None


class Site:
    """Workers behind a gateway, in a folder for what they write.

    Parameters
    ----------
    folder
        Empty.
    n_workers
        How many; mock workers, or embedded engines if ``engine``.
    """

    def __init__(self, folder: Path, n_workers: int, *, engine: bool = False) -> None:
        self.folder = folder
        self.journal = folder / "journal"
        self.marks: list[Mark] = []
        self.deaths: list[tuple[float, str, int]] = []
        self.n_lives = 0
        self._engine = engine
        self.ports = [free_port() for _ in range(n_workers)]
        self.port = free_port()
        (folder / "keys").write_text(f"chaos {KEY}\n", encoding="utf-8")
        self.workers = [self._start_worker(number) for number in range(n_workers)]
        self.gateway = self._start_gateway()

    def name(self, number: int) -> str:
        """Return a worker's name, as the gateway tells it."""
        return "gateway" if number == GATEWAY else f"127.0.0.1:{self.ports[number]}"

    def url(self, number: int) -> str:
        """Return a worker's address."""
        return f"http://{self.name(number)}"

    async def ready(self, n_workers: int) -> None:
        """Wait until the gateway uses so many workers."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            text = await asyncio.to_thread(self._page, "/metrics")
            if len(READY.findall(text)) >= n_workers:
                return
            await asyncio.sleep(0.05)
        raise RuntimeError(f"{n_workers} workers were not ready; see {self.folder}")

    async def bring_about(self, fault: Fault) -> None:
        """Make something go wrong, and right again."""
        mark = Mark(fault.kind, self.name(fault.worker), time.monotonic())
        self.marks.append(mark)
        if fault.worker == GATEWAY:
            await asyncio.to_thread(self._end_gateway, fault.kind)
        else:
            await self._trouble(fault)
        mark.ended = time.monotonic()

    def rss_bytes(self) -> int:
        """Return the gateway's resident memory."""
        try:
            fields = Path(f"/proc/{self.gateway.pid}/statm").read_text("ascii").split()
        except OSError:
            return 0
        return int(fields[1]) * PAGE

    def gauges(self) -> dict[str, float]:
        """Return what the gateway says is under way."""
        gauges = {}
        for line in self._page("/metrics").splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith("triskele_") and ("_running" in name or "_waiting" in name):
                gauges[name] = float(value)
        return gauges

    def tasks(self) -> list[str]:
        """Return the gateway's asyncio tasks, as few as they are in a second."""
        return min((self.inside()["tasks"] for _ in range(5)), key=len)

    def blocks(self) -> int | None:
        """Return the blocks of memory that live in the gateway, ``None`` if it is not there."""
        try:
            return int(self.inside()["blocks"])
        except (RuntimeError, ValueError, OSError):
            return None

    def inside(self) -> dict[str, Any]:
        """Return what the gateway says of itself."""
        gateway = self.gateway
        n_before = gateway.log.read_text("utf-8", "replace").count("\n")
        gateway.popen.send_signal(signal.SIGUSR1)
        for _ in range(20):
            time.sleep(0.1)
            for line in gateway.log.read_text("utf-8", "replace").splitlines()[n_before:]:
                if line.startswith("{") and line.endswith("}"):
                    return dict(json.loads(line))
        raise RuntimeError(f"the gateway does not say what is in it; see {gateway.log}")

    def sockets(self) -> dict[str, int]:
        """Return the gateway's connections: of clients, to workers, and half-closed ones."""
        own = {
            str(entry.readlink())
            for entry in Path(f"/proc/{self.gateway.pid}/fd").iterdir()
            if entry.is_symlink()
        }
        counts = {"clients": 0, "workers": 0, "half-closed": 0}
        for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" not in own or fields[3] not in (ESTABLISHED, CLOSE_WAIT):
                continue
            port = int(fields[1].rpartition(":")[2], 16)
            if fields[3] == CLOSE_WAIT:
                counts["half-closed"] += 1
            counts["clients" if port == self.port else "workers"] += 1
        return counts

    def pages(self) -> int:
        """Return the pages that engine workers hold for requests, of which there are none."""
        n = 0
        for number in range(len(self.workers)):
            with OPENER.open(f"{self.url(number)}/metrics", timeout=10) as response:
                n += sum(map(int, HELD.findall(response.read().decode())))
        return n

    def finish(self) -> int:
        """End everything, the gateway kindly; return its exit status."""
        self.gateway.popen.send_signal(signal.SIGTERM)
        status = self.gateway.popen.wait(DRAIN_SECONDS + 10)
        self.stop()
        return status

    def stop(self) -> None:
        """End everything."""
        for process in (self.gateway, *self.workers):
            process.stop(signal.SIGKILL)

    # What goes wrong.

    async def _trouble(self, fault: Fault) -> None:
        number = fault.worker
        worker = self.workers[number]
        if fault.kind == "kill":
            await asyncio.to_thread(worker.stop, signal.SIGKILL)
            await asyncio.sleep(fault.seconds)
            self.workers[number] = await asyncio.to_thread(self._start_worker, number)
        elif fault.kind == "hang":
            worker.popen.send_signal(signal.SIGSTOP)
            await asyncio.sleep(fault.seconds)
            worker.popen.send_signal(signal.SIGCONT)
        else:
            await asyncio.to_thread(self._tell, number, fault.kind)
            await asyncio.sleep(fault.seconds)
            await asyncio.to_thread(self._tell, number, "well")

    def _tell(self, number: int, mode: str) -> None:
        call(f"{self.url(number)}/fault", {"mode": mode})

    def _end_gateway(self, kind: str) -> None:
        """End the gateway, and start it again."""
        self.gateway.popen.send_signal(signal.SIGTERM if kind == TERMINATE else signal.SIGKILL)
        status = self.gateway.popen.wait(DRAIN_SECONDS + 10)
        self.deaths.append((time.monotonic(), kind, status))
        self.gateway.stop(signal.SIGKILL)
        assert kind in (TERMINATE, MURDER)
        self.gateway = self._start_gateway()

    # How processes start.

    def _start_worker(self, number: int) -> Process:
        port = ["--port", str(self.ports[number])]
        if self._engine:
            command = [sys.executable, "-m", "triskele.serve.engine", *port]
            command += ["--random=tiny", "--served-name=tiny", "--n-pages=512", "--page-size=16"]
        else:
            command = [sys.executable, "-m", "benchmarks.chaos.worker", *port]
            command += ["--log", str(self.folder / f"worker-{number}.done")]
        process = Process(command, self.folder / f"worker-{number}-{time.time():.0f}.log")
        process.first_line()
        return process

    def _start_gateway(self) -> Process:
        self.n_lives += 1
        command = [sys.executable, "-m", "benchmarks.chaos.gateway", f"--port={self.port}"]
        command += [f"--upstream={self.url(number)}" for number in range(len(self.ports))]
        command += [f"--keys={self.folder / 'keys'}", f"--journal={self.journal}"]
        command += [f"--learned={self.folder / 'learned'}", f"--drain-seconds={DRAIN_SECONDS:g}"]
        process = Process(command, self.folder / f"gateway-{self.n_lives}.log")
        process.first_line()
        return process

    def _page(self, path: str) -> str:
        try:
            with OPENER.open(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
                return str(response.read().decode())
        except OSError:
            return ""
