"""How a gateway is set: every part's own settings, and what belongs to no part alone."""

from dataclasses import dataclass, field

from triskele.serve.gateway.choosing import Choosing
from triskele.serve.gateway.forwarding import Forwarding
from triskele.serve.gateway.health import Patience
from triskele.serve.gateway.probing import Probing
from triskele.serve.http import Limits
from triskele.serve.routing.named import Policy

DEFAULT_EVICTION = "lru"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queueing:
    """How many requests are let in.

    Attributes
    ----------
    n_per_worker
        Most requests at once for each worker that may be used.
    n_queued
        Most requests that wait beyond those; further ones are answered 429.
    queue_seconds
        Longest time that one waits.
    """

    n_per_worker: int = 1024
    n_queued: int = 4096
    queue_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Refuse a gateway that lets nobody in."""
        if self.n_per_worker < 1 or self.n_queued < 0 or not self.queue_seconds > 0:
            raise ValueError(f"expected room for at least one request, got {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A gateway.

    Attributes
    ----------
    policy
        Router, and the eviction policy that the workers are taken to have.
    seed
        Of routers that draw.
    keeps_text
        Whether the journal keeps prompts, and the queries in them.
    allow_upstream
        Patterns of ``host:port`` that workers added by the admin API may have, beside those that
        are listed from the beginning.
    """

    policy: Policy = field(default_factory=lambda: Policy("lbgr", DEFAULT_EVICTION))
    seed: int = 0
    keeps_text: bool = False
    allow_upstream: tuple[str, ...] = ()
    forwarding: Forwarding = field(default_factory=Forwarding)
    queueing: Queueing = field(default_factory=Queueing)
    choosing: Choosing = field(default_factory=Choosing)
    probing: Probing = field(default_factory=Probing)
    patience: Patience = field(default_factory=Patience)
    limits: Limits = field(default_factory=Limits)
