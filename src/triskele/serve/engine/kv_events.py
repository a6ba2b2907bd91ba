"""What the cache holds, told to routers as it changes, in the form of vLLM's KV events.

Over a ZeroMQ publisher: a topic, a running number (8 bytes, the highest first), and a msgpack
array ``[time, events, rank]``; an event is an array that begins with its name. A page is named by
the chained hash of its tokens and of everything before them (``triskele.serve.cache.hashing``).
Whoever subscribes late, or misses a number, hears only of what changes from then on.
"""

import time
from collections.abc import Callable, Sequence

import msgspec
import zmq

from triskele.serve.cache.hashing import chained_hashes
from triskele.serve.cache.radix import TOKEN_BYTES
from triskele.serve.engine.changes import Removed, Stored

MEDIUM = "GPU"
"""The tier that vLLM's subscribers take for the one the engine computes from."""


class BlockStored(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Pages that follow each other entered the cache."""

    block_hashes: list[int]
    parent_block_hash: int | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None = None
    medium: str | None = MEDIUM


class BlockRemoved(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Pages left the cache."""

    block_hashes: list[int]
    medium: str | None = MEDIUM


class AllBlocksCleared(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The cache is empty."""


KvEvent = BlockStored | BlockRemoved | AllBlocksCleared


class EventBatch(msgspec.Struct, frozen=True, array_like=True):
    """What happened since the last batch: Unix seconds, events, and the rank of the worker."""

    ts: float
    events: list[KvEvent]
    data_parallel_rank: int | None = None


class PageNames:
    """The hashes of pages, by which others know them.

    Parameters
    ----------
    page_size
        Tokens per page.
    """

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._hashes: dict[int, int] = {}

    def events(self, changes: Sequence[Stored | Removed]) -> list[KvEvent]:
        """Return changes of pages as events."""
        return [
            self._stored(change) if isinstance(change, Stored) else self._removed(change)
            for change in changes
        ]

    def _stored(self, change: Stored) -> BlockStored:
        stride = self._page_size * TOKEN_BYTES
        added = change.key[change.n_known * stride :]
        above = self._hashes[change.pages[change.n_known - 1]] if change.n_known else None
        hashes = chained_hashes(added, stride, above=above or 0)
        self._hashes.update(zip(change.pages[change.n_known :], hashes, strict=True))
        tokens = memoryview(added).cast("I").tolist()
        return BlockStored(hashes, above, tokens, self._page_size)

    def _removed(self, change: Removed) -> BlockRemoved:
        return BlockRemoved([self._hashes.pop(page) for page in change.pages])


class EventPublisher:
    """Publishes what happens to pages.

    Parameters
    ----------
    endpoint
        Where to bind, as ``tcp://127.0.0.1:5557``; port ``*`` takes a free one.
    page_size
        Tokens per page.
    topic
        Of every message.
    now
        Unix seconds.

    Raises
    ------
    OSError
        When the endpoint cannot be bound.

    Attributes
    ----------
    endpoint
        Where it is bound, the port a number.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        page_size: int,
        topic: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._names = PageNames(page_size)
        self._topic = topic.encode()
        self._now = now
        self._n_sent = 0
        self._encoder = msgspec.msgpack.Encoder()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise OSError(f"cannot bind {endpoint}: {error}") from error
        self.endpoint = str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT)).rstrip("\0")

    def publish(self, changes: Sequence[Stored | Removed]) -> None:
        """Tell of changes; never waits, and whoever is not listening misses them."""
        self._send(self._names.events(changes))

    def close(self) -> None:
        """Close the socket; once."""
        self._socket.close()
        self._context.term()

    def _send(self, events: list[KvEvent]) -> None:
        batch = self._encoder.encode(EventBatch(self._now(), events))
        number = self._n_sent.to_bytes(8, "big")
        self._socket.send_multipart((self._topic, number, batch), flags=zmq.NOBLOCK)
        self._n_sent += 1
