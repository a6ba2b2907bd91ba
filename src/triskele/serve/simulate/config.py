"""What a simulation is asked to do: one frozen record made of small ones.

The command line is derived from these classes: a field's name is its option, its docstring the
help, its default the default. What the names in it stand for is written where they are looked up,
in ``policies`` and ``experiment``. Nothing here knows of files or clocks.
"""

from dataclasses import dataclass, field
from pathlib import Path

from triskele.serve.simulate.shared_prefix import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """The workers, and what befalls them."""

    workers: int = 4
    """Number of workers."""
    hardware: tuple[str, ...] = ("llama-8b-l40",)
    """What they run on: llama-8b-l40, llama-8b-a100, llama-8b-h100, llama-70b-2xh200,
    llama-8b-l40-all-in (as slow as the published table implies), or a .csv of measured steps.
    Several are given to the workers in turn."""
    kv_tokens: int | None = None
    """Tokens of key-value cache per worker; what the hardware has room for if not given."""
    chunk: int = 8192
    """Most tokens that a worker computes in one iteration."""
    running: int = 256
    """Most requests that a worker runs at once."""
    event_delay: float | None = None
    """Seconds until a router hears what a worker has cached and evicted; workers send no such
    events if not given."""
    changes: tuple[str, ...] = ()
    """Failures and joins as SECONDS:WORKER:fails or SECONDS:WORKER:joins, workers counted from 0.
    Who fails loses its cache and its requests, which are sent again; who joins begins cold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeOptions:
    """The workload, where it is to be other than its default; not every option suits each."""

    size: int | None = None
    """How much: groups of 32 requests (gsp), conversations (multi-turn, sharegpt, ultrachat),
    documents (long-document, loogle) or requests (synthetic, mooncake, azure)."""
    rate: float | None = None
    """Requests per second; the traces have their own times."""
    burstiness: float | None = None
    """Coefficient of variation of the gaps between arrivals: 1 is Poisson, more comes in bursts."""
    speed: float | None = None
    """How many times faster than recorded a trace (mooncake, azure) is played."""
    start: int | None = None
    """Requests to leave out at the beginning of a trace."""
    shrink: int | None = None
    """Divide all lengths of a trace by this, to fit a small fleet."""
    ratio: float | None = None
    """Share of a prompt that is prefix (gsp)."""
    order: Order | None = None
    """How groups follow each other (gsp)."""
    lengths: tuple[int, ...] | None = None
    """Tokens per prompt (gsp) or document (long-document, loogle), in turn."""
    output: int | None = None
    """Tokens per answer: of all (gsp, multi-turn, long-document), on average (synthetic), or at
    most (sharegpt, ultrachat, loogle)."""
    think: float | None = None
    """Mean seconds between an answer and the next turn of a conversation."""
    page_size: int | None = None
    """Tokens per page of the cache; Mooncake's trace has its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateConfig:
    """Compare routing and eviction policies on a simulated fleet of LLM workers.

    Serves a workload on simulated workers, once per policy and seed; prints a table, and writes
    every request (Parquet), all figures (JSON) and a picture to OUT.

    What do today's routers do with shared prefixes, and what does ours?

      triskele simulate --compare cache-aware round-robin

    Is another eviction worth it on our own traffic, played four times as fast?

      triskele simulate --workload mooncake --trace chat.jsonl --speed 4 --compare lbgr+gittins

    How many requests per second do eight H100s take?

      triskele simulate --workers 8 --hardware llama-8b-h100 --rate 100

    What happens when the second of four workers fails for a minute?

      triskele simulate --changes 60:1:fails 120:1:joins --compare consistent-hash
    """

    workload: str = "gsp"
    """What is served. Generated: gsp (shared prefixes), multi-turn, long-document, synthetic (any
    size). Read from --trace: sharegpt, ultrachat, loogle, mooncake, azure."""
    trace: Path | None = None
    """File of a workload that is read; plain, .gz or .xz."""
    router: str = "lbgr"
    """What chooses a worker: lbgr (lowest predicted cost), lbgr-greedy (the same by latency alone,
    the published objective), cache-aware (SGLang), prefix-affinity (Ray Serve), dynamo (NVIDIA),
    consistent-hash, least-loaded, power-of-two, round-robin, random."""
    eviction: str = "lru"
    """What a full cache drops: lru, lfu, slru, fifo, sieve, rlt (randomized leaf-token), gittins
    (informed by reuse), random."""
    compare: tuple[str, ...] = ()
    """Other policies to serve the same workload with: ROUTER or ROUTER+EVICTION, any number."""
    slo: float = 2.0
    """Seconds to the first token within which an answer counts as good."""
    seed: int = 0
    """Seed of the workload and of all policies that draw."""
    seeds: int = 1
    """How many seeds to serve, from --seed on; the table then shows means and deviations."""
    out: Path = Path("simulation")
    """Folder for everything that is written."""
    fleet: FleetOptions = field(default_factory=FleetOptions)
    shape: ShapeOptions = field(default_factory=ShapeOptions)
