"""What a server is asked to do: one frozen record, from which the command line is derived."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

URLS = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """Who may come in, and how long things may take."""

    keys: Path | None = None
    """File of API keys, one `NAME KEY [REQUESTS_PER_MINUTE [TOKENS_PER_MINUTE]]` per line, read
    again when it changes; or set TRISKELE_API_KEYS. Without keys everybody may come in."""
    admin_token: Path | None = None
    """File with the token of the admin API; or set TRISKELE_ADMIN_TOKEN. Without one the admin API
    and the dashboard are for this machine, while the gateway listens there only."""
    upstream_key: Path | None = None
    """File with the key that workers ask for; or set TRISKELE_UPSTREAM_KEY."""
    allow_upstream: URLS = ()
    """HOST:PORT, with * and ?, that the admin API may add workers of; those listed here may."""
    tokenizer: Path | None = None
    """Folder with the workers' tokenizer.json (and chat template), so that prompts are hashed as
    the tokens that workers see; as text if not given. With --model it is that model's."""
    prefix_tokens: int = 64
    """Tokens per page of what is hashed; the workers' block size where they publish events."""
    kv_events: URLS = ()
    """URL=tcp://HOST:PORT[,tcp://HOST:PORT]: where the worker of that --upstream publishes the
    key-value events of its cache (vLLM's format), and where it repeats them; needs --tokenizer."""
    journal: Path | None = None
    """Folder for a record of every request (JSON lines, then Parquet)."""
    keep_text: bool = False
    """Keep prompts in the journal, too."""
    learned: Path | None = None
    """File that keeps what the router has learned over restarts."""
    tls_cert: Path | None = None
    """Certificate chain (PEM), to serve HTTPS; needs --tls-key."""
    tls_key: Path | None = None
    """Private key (PEM)."""
    request_seconds: float = 600.0
    """Longest time from a request to the end of its answer."""
    attempts: int = 3
    """Most workers that a request is sent to, while the client has no byte of an answer."""
    hedge_seconds: float | None = None
    """After so long without anything for the client, ask a second worker beside the first and take
    what comes first; never if not given. It costs work: see docs/gateway.md."""
    per_worker: int = 1024
    """Most requests at once for each worker; more wait."""
    queue: int = 4096
    """Most requests that wait; more are answered 429 with Retry-After."""
    body_mib: int = 16
    """Longest body of a request, in MiB."""
    health_path: str = "/health"
    """What workers are asked to see whether they are well."""
    drain_seconds: float = 30.0
    """How long requests may still take after SIGTERM."""

    def events_by_url(self) -> dict[str, str]:
        """Return where each worker publishes, by its URL."""
        events: dict[str, str] = {}
        for text in self.kv_events:
            url, equals, where = text.partition("=")
            if not equals:
                raise ValueError(f"expected URL=tcp://HOST:PORT of key-value events, got {text!r}")
            events[url] = where
        return events


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceOptions:
    """Which model answers requests for "auto", where several are served."""

    capability: Path | None = None
    """Folder of the capability table that `triskele loop` publishes; without it no "auto"."""
    margin: float = 0.05
    """How much below the best predicted quality (0 to 1) is good enough; a request may say
    otherwise in X-Triskele-Margin, and so for the next two."""
    price_weight: float = 1.0
    """What price counts among the models that are good enough."""
    latency_weight: float = 0.0
    """What each second counts among them, of those that a request is predicted to cost everyone."""
    quality_weight: float = 0.0
    """What being worse than the best counts among them. With margin 1, quality weight 1 and no
    price weight, a latency weight of 0.02 gives up two points of quality for a second."""
    explore: float = 0.02
    """Share of requests that go to another model, so that evidence keeps coming for all."""
    embed_seconds: float = 0.005
    """Longest time to embed a query; later than that, the ranking of all queries decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Workers of one's own, for --model."""

    workers: int = 1
    """How many, each a process of its own."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where they compute."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of weights and cache; auto is the checkpoint's own on CUDA and float32 on a CPU."""
    cache_tokens: int | None = None
    """Tokens that each worker's cache holds; what fits if not given."""
    page_tokens: int = 16
    """Tokens per page of it."""
    running: int = 64
    """Most requests that a worker runs at once."""
    batch_tokens: int = 2048
    """Most tokens that it computes in one iteration."""
    threads: int | None = None
    """Threads of each worker; the machine's cores shared out if not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Serve models: an OpenAI-compatible gateway before workers, or a checkpoint and the gateway.

    Two vLLM or SGLang workers behind one address, each request to the one that answers soonest:

      triskele serve --upstream http://10.0.0.5:8000 --upstream http://10.0.0.6:8000

    A checkpoint in the Llama or Qwen layout, on two workers of our own:

      triskele serve --model run/checkpoint --workers 2

    Then, from anywhere that speaks OpenAI's API, and from a browser at /dashboard:

      curl http://127.0.0.1:8000/v1/chat/completions -H 'content-type: application/json'
           -d '{"model": "M", "messages": [{"role": "user", "content": "Hello"}]}'
    """

    upstream: URLS = ()
    """Address of a worker that speaks OpenAI's API, as http://HOST:PORT; once for each."""
    model: Path | None = None
    """Folder of a checkpoint to serve with workers of our own."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every one of this machine."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    router: str = "lbgr"
    """What chooses a worker: lbgr (lowest predicted cost), lbgr-greedy, cache-aware (SGLang),
    prefix-affinity (Ray Serve), dynamo (NVIDIA), consistent-hash, least-loaded, power-of-two,
    round-robin, random."""
    eviction: str = "lru"
    """What workers drop when their caches are full: our own do, others are taken to. lru, lfu,
    slru, fifo, sieve, rlt (randomized leaf-token), gittins (informed by reuse), random."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """How much is said on standard error."""
    gateway: GatewayOptions = field(default_factory=GatewayOptions)
    choice: ChoiceOptions = field(default_factory=ChoiceOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)

    def __post_init__(self) -> None:
        """Refuse what cannot be served."""
        if not self.upstream and self.model is None:
            raise ValueError("expected --upstream URL, or --model DIR for workers of our own")
        if self.engine.workers < 1:
            raise ValueError(f"expected at least one worker, got {self.engine.workers}")
        if not 0 <= self.port < 1 << 16:
            raise ValueError(f"expected a port from 0 to 65535, got {self.port}")
        if (self.gateway.tls_cert is None) != (self.gateway.tls_key is None):
            raise ValueError("expected --tls-cert and --tls-key together")
        if self.gateway.kv_events and self.gateway.tokenizer is None:
            raise ValueError("expected --tokenizer with --kv-events: caches are told in tokens")
        unknown = self.gateway.events_by_url().keys() - set(self.upstream)
        if unknown:
            raise ValueError(f"expected --kv-events of an --upstream, got {min(unknown)}")
