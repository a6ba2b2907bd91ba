"""Which model answers a request that leaves the choice to the gateway: ``"model": "auto"``.

The query is embedded within a deadline, or the ranking of all queries together decides; embeddings
are kept by the hash of the query. The capability table is read again when another version becomes
current. How much quality may be given up for price and speed is the gateway's setting; a key
may say otherwise, and a request in its headers.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from triskele.serve.gateway.refusal import Refusal
from triskele.serve.gateway.wishes import FIELDS, Wishes
from triskele.serve.http import HttpRequest
from triskele.serve.routing.capability import CapabilityRouter, Decision, Preference
from triskele.serve.routing.capability_table import CapabilityTable, Shelf

AUTO = "auto"
HEADERS = {f"x-triskele-{name}".encode(): field for name, field in FIELDS.items()}
# Queries that may wait to be embedded; beyond them the ranking of all queries decides at once.
N_LATE = 256
Vector = NDArray[np.float32]
Embed = Callable[[str], Vector]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """How models are chosen.

    Attributes
    ----------
    preference
        What is good enough and what is preferred, where a request does not say.
    embed_seconds
        Longest time that a query may take to embed; 0 embeds on the spot, without a thread.
    n_kept
        Embeddings that are remembered.
    """

    preference: Preference = field(default_factory=Preference)
    embed_seconds: float = 0.005
    n_kept: int = 10_000

    def __post_init__(self) -> None:
        """Refuse what cannot be waited for."""
        if self.embed_seconds < 0 or self.n_kept < 1:
            raise ValueError(f"expected seconds of at least 0 and something kept, got {self}")


class ModelChooser:
    """Chooses models.

    Parameters
    ----------
    shelf
        Of the capability table.
    embedders
        Makes what embeds queries from the name that a table gives.
    settings
        How models are chosen.
    rng
        Of exploration.
    """

    def __init__(
        self,
        shelf: Shelf,
        embedders: Callable[[str], Embed],
        settings: Choosing,
        rng: np.random.Generator,
    ) -> None:
        self.router = CapabilityRouter(rng)
        self._shelf = shelf
        self._embedders = embedders
        self._settings = settings
        self._table: CapabilityTable | None = None
        self._embed: Embed | None = None
        self._kept: OrderedDict[int, Vector] = OrderedDict()
        self._late: dict[int, asyncio.Future[Vector]] = {}
        # Of its own: whatever else is done beside the loop must not wait behind queries.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embed")
        self._complaint = ""
        self.refresh()

    @property
    def version(self) -> int:
        """Of the table; 0 where there is none."""
        return 0 if self._table is None else self._table.version

    def refresh(self) -> None:
        """See whether another version has become current; one that is damaged is passed over."""
        try:
            table = self._shelf.current()
        except Exception as error:  # what reading a damaged archive may raise has no end
            self._complain(f"the capability table stays at version {self.version}: {error}")
            return
        if table is self._table:
            return
        before, self._table = self._table, table
        self._complaint = ""
        logger.info("capability table: version %d", self.version)
        if table is None:
            return
        if before is None or table.embedder != before.embedder or self._embed is None:
            # What the last one still makes is not for this one.
            self._kept.clear()
            self._late = {}
            try:
                self._embed = self._embedders(table.embedder)
            except Exception as error:  # a model's folder may be broken in any way
                self._embed = None
                self._complain(f"queries are not embedded: {error}")

    def close(self) -> None:
        """Embed nothing any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def choose(
        self,
        request: HttpRequest,
        query: str,
        latency: Mapping[str, float | None],
        burden: Mapping[str, float] | None = None,
        *,
        wishes: Wishes | None = None,
    ) -> Decision:
        """Return the model for a query.

        Parameters
        ----------
        request
            Whose headers may say what is preferred.
        query
            What is asked, without what came before.
        latency
            Models that have a worker now, and the seconds that each would take, if they are known.
        burden
            Seconds that each would cost everyone, if they are known.
        wishes
            What its key says is preferred, where the headers do not.

        Raises
        ------
        Refusal
            400 for headers that are no numbers in range.
        """
        preference, table = self._preference(request, wishes or {}), self._table
        embedding = None if table is None else await self._embedding(query)
        if table is not None and embedding is not None and not _fits(table, embedding):
            self._complain(f"{table.embedder} does not make what version {table.version} takes")
            embedding = None
        known = {name: seconds for name, seconds in latency.items() if seconds is not None}
        return self.router.decide(
            table, embedding, list(latency), latency=known, burden=burden, preference=preference
        )

    def _preference(self, request: HttpRequest, wishes: Wishes) -> Preference:
        said = dict(wishes)
        for name, value in request.headers:
            if name in HEADERS:
                try:
                    said[HEADERS[name]] = float(value)
                except ValueError:
                    raise Refusal(400, f"expected a number in {name.decode()}") from None
        if not said:
            return self._settings.preference
        try:
            return replace(self._settings.preference, **said)
        except ValueError:
            raise Refusal(400, "expected a margin from 0 to 1, and weights of at least 0") from None

    async def _embedding(self, query: str) -> Vector | None:
        """Return the embedding of a query if it is to be had in time."""
        embed = self._embed
        if embed is None or not query:
            return None
        name = xxhash.xxh3_64_intdigest(query.encode("utf-8", "surrogatepass"))
        kept = self._kept.get(name)
        if kept is not None:
            self._kept.move_to_end(name)
            return kept
        try:
            if self._settings.embed_seconds == 0:
                vector = embed(query)
                self._keep(name, vector)
                return vector
            made = self._late.get(name)
            if made is None:
                if len(self._late) >= N_LATE:
                    return None
                loop = asyncio.get_running_loop()
                made = self._late[name] = loop.run_in_executor(self._thread, embed, query)
                # What comes too late for this request is there for the next.
                made.add_done_callback(partial(self._take, name))
            return await self._in_time(made)
        except Exception as error:  # a model may fail in any way; the request need not
            self._complain(f"a query could not be embedded: {error}")
            return None

    async def _in_time(self, made: "asyncio.Future[Vector]") -> Vector | None:
        await asyncio.wait((made,), timeout=self._settings.embed_seconds)
        return made.result() if made.done() else None

    def _take(self, name: int, made: "asyncio.Future[Vector]") -> None:
        # Not if it was asked of the embedder before this one.
        is_of_now = self._late.get(name) is made
        if is_of_now:
            del self._late[name]
        if not made.cancelled() and made.exception() is None and is_of_now:
            self._keep(name, made.result())

    def _keep(self, name: int, vector: Vector) -> None:
        self._kept[name] = vector
        if len(self._kept) > self._settings.n_kept:
            self._kept.popitem(last=False)

    def _complain(self, message: str) -> None:
        """Say what is wrong, once for as long as it is the same."""
        if message != self._complaint:
            self._complaint = message
            logger.warning("%s", message)


def with_model(body: bytes, model: str) -> bytes:
    """Return a body in JSON with another model, every other field as it was.

    Raises
    ------
    ValueError
        When it is no object.
    """
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


def described(decision: Decision) -> dict[str, object]:
    """Return a decision as the journal keeps it."""
    return msgspec.to_builtins(decision)  # type: ignore[no-any-return]


def _fits(table: CapabilityTable, embedding: Vector) -> bool:
    """Tell whether a table can do something with what an embedder has made."""
    shape = table.points.shape[1:]
    return not len(table.points) or (
        embedding.shape == shape and bool(np.isfinite(embedding).all())
    )
