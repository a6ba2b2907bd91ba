"""What routers have learned, kept in a file over restarts.

The file is written beside and put in place, so that it is whole or the one before. A file that
cannot be read is reported and left alone: the gateway then begins cold.
"""

import logging
import os
from pathlib import Path

import msgspec

from triskele.serve.gateway.fleet import Memory

logger = logging.getLogger(__name__)


class _Saved(msgspec.Struct):
    policy: str
    models: list[str]
    state: Memory


def save_learned(path: Path, policy: str, memories: list[tuple[frozenset[str], Memory]]) -> None:
    """Write what routers of a policy have learned, by the models of their pools.

    Raises
    ------
    OSError
        When it cannot be written; what was there stays.
    """
    saved = [_Saved(policy, sorted(models), state) for models, state in memories]
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        file.write(msgspec.json.encode(saved))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def load_learned(path: Path, policy: str) -> list[tuple[frozenset[str], Memory]]:
    """Return what routers of this policy had learned; nothing where there is no good file."""
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=list[_Saved])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        logger.warning("%s is not taken up: %s", path, error)
        return []
    return [(frozenset(each.models), each.state) for each in saved if each.policy == policy]
