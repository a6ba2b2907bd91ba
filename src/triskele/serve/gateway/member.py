"""A worker as the gateway knows it: where it is, what it serves, how it is, what it has done."""

from dataclasses import dataclass
from typing import Protocol

import msgspec

from triskele.serve.gateway.health import Health, State
from triskele.serve.http import Origin
from triskele.serve.routing import Worker


class Exchange(Protocol):
    """A request on its way."""

    def abandon(self) -> None:
        """Give the worker up if it has not begun to answer."""


@dataclass(slots=True)
class Tally:
    """What a worker has done since it was listed.

    Attributes
    ----------
    n_requests, n_failures
        Requests sent to it, and those that went wrong there.
    n_prompt, n_cached, n_output
        Tokens, of the answers that named them.
    """

    n_requests: int = 0
    n_failures: int = 0
    n_prompt: int = 0
    n_cached: int = 0
    n_output: int = 0

    @property
    def hit_rate(self) -> float | None:
        """Share of the prompts' tokens that were cached; ``None`` if nobody said."""
        return self.n_cached / self.n_prompt if self.n_prompt else None


class Member:
    """One worker.

    Parameters
    ----------
    name
        By which routers, records and people know it.
    origin
        Its address.
    health
        Whether it may be used.
    credential
        Goes into the ``authorization`` field of requests to it; never shown.

    Attributes
    ----------
    catalogue
        What it said of its models, by name.
    models
        Names of those.
    worker
        What routers know of it.
    exchanges
        Requests that it has now.
    tally
        What it has done.
    """

    __slots__ = (
        "_credential",
        "_heads",
        "catalogue",
        "exchanges",
        "health",
        "models",
        "name",
        "origin",
        "seen",
        "tally",
        "worker",
    )

    def __init__(
        self, name: str, origin: Origin, health: Health, *, credential: str | None = None
    ) -> None:
        self.name = name
        self.origin = origin
        self.health = health
        self.catalogue: dict[str, msgspec.Raw] = {}
        self.models: frozenset[str] = frozenset()
        self.worker = Worker(name)
        self.exchanges: set[Exchange] = set()
        self.tally = Tally()
        self.seen: tuple[State, bool] = (health.state, False)
        self._credential = credential
        self._heads: dict[str, bytes] = {}

    @property
    def has_credential(self) -> bool:
        """Whether requests to it carry an authorization of their own."""
        return self._credential is not None

    @property
    def authorization(self) -> list[tuple[bytes, bytes]]:
        """The field to put into requests to it; none if it asks for none."""
        if self._credential is None:
            return []
        return [(b"authorization", b"Bearer " + self._credential.encode())]

    def head(self, target: str) -> bytes:
        """Return how a ``POST`` to it begins: request line, host and authorization."""
        head = self._heads.get(target)
        if head is None:
            origin = self.origin
            lines = [
                f"POST {origin.prefix}{target} HTTP/1.1\r\n".encode("ascii"),
                b"host: %b\r\n" % origin.host_header,
            ]
            lines += [b"%b: %b\r\n" % pair for pair in self.authorization]
            head = b"".join(lines)
            if len(self._heads) < 16:
                self._heads[target] = head
        return head
