"""What routers have learned, kept in a file over restarts.

The file is written beside and put in place, so that it is whole or the one before. A file that
cannot be read is reported and left alone: the gateway then begins cold, and sets it aside before
it writes its own.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from triskele.serve.gateway.fleet import Fleet
from triskele.serve.gateway.pool import Memory

Memories = list[tuple[frozenset[str], Memory]]
ASIDE = ".unreadable"
SAVE_SECONDS = 60.0
logger = logging.getLogger(__name__)


class _Saved(msgspec.Struct):
    policy: str
    models: list[str]
    state: Memory


class LearnedFile:
    """The file. Writing blocks, for as long as the disk takes; use it from one thread at a time.

    Parameters
    ----------
    path
        Where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_unreadable = False

    async def keep(self, fleet: Fleet, policy: Callable[[], str], stopping: asyncio.Event) -> None:
        """Save what a fleet's routers learn: now and then what is small, at the end all of it."""
        is_over = False
        while not is_over:
            with suppress(TimeoutError):
                async with asyncio.timeout(SAVE_SECONDS):
                    is_over = await stopping.wait()
            memories = fleet.memories(caches=is_over)
            # A disk may take long to say that it has something.
            await asyncio.to_thread(self.save, policy(), memories)

    def load(self, policy: str) -> Memories:
        """Return what routers of this policy had learned, by the models of their pools."""
        try:
            saved = msgspec.json.decode(self._path.read_bytes(), type=list[_Saved])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            logger.warning("%s is not taken up: %s", self._path, error or "nested too deeply")
            self._is_unreadable = True
            return []
        return [(frozenset(each.models), each.state) for each in saved if each.policy == policy]

    def save(self, policy: str, memories: Memories) -> None:
        """Write what routers of a policy have learned; if they learn nothing, leave what is there.

        What cannot be written is reported, and what was there stays.
        """
        if not memories:
            return
        saved = [_Saved(policy, sorted(models), state) for models, state in memories]
        path = self._path
        try:
            beside = path.with_name(f".{path.name}.new")
            with beside.open("wb") as file:
                file.write(msgspec.json.encode(saved))
                file.flush()
                os.fsync(file.fileno())
            if self._is_unreadable and path.exists():
                path.replace(path.with_name(path.name + ASIDE))
                self._is_unreadable = False
            beside.replace(path)
        except OSError as error:
            logger.warning("what was learned is not saved: %s", error)
