"""API keys: who may use the gateway, and how much.

Keys are held and looked up by their SHA-256 digests. The time of a look-up depends on the digest of
what was presented, compared with digests that are held; nobody can choose a key whose digest begins
like another's without already searching all keys, so that what the time may tell of a digest brings
nobody nearer to a key. The digests themselves are compared in constant time all the same.

A file or an environment variable holds one key per line::

    # name  key or sha256:HEX      requests per minute   tokens per minute
    ann     sk-0123456789abcdef    60                    100000
    ben     sha256:9f86d0…         -                     20000    margin=0.1 price-weight=2

No message, representation or log line of this module contains a key, nor any field that could be
one by mistake: fields are named by their line.
"""

import hmac
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from triskele.serve.gateway.rate import Allowance
from triskele.serve.gateway.wishes import Wishes, parse_wish

MIN_CHARACTERS = 16
VARIABLE = "TRISKELE_API_KEYS"
NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
HASHED = "sha256:"
HEX = re.compile(r"[0-9a-fA-F]{64}")
LIMIT = re.compile(r"[1-9][0-9]{0,14}")
UNLIMITED = "-"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that may use the gateway.

    Attributes
    ----------
    name
        Who it belongs to, for records and metrics.
    digest
        SHA-256 of the key.
    allowance
        How much it may use.
    wishes
        What it prefers in the model that answers ``auto``, where a request does not say.
    """

    name: str
    digest: bytes = field(repr=False)
    allowance: Allowance
    wishes: Wishes = field(default_factory=dict)


class Keys:
    """The keys that are valid at one time.

    Raises
    ------
    ValueError
        If there is no key, or two of the same name or the same digest. An empty set is refused
        because it is what a file looks like while it is being written.
    """

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._by_digest: dict[bytes, ApiKey] = {}
        names: set[str] = set()
        for key in keys:
            if key.name in names or key.digest in self._by_digest:
                raise ValueError("expected names and keys that differ, got one twice")
            names.add(key.name)
            self._by_digest[key.digest] = key
        if not names:
            raise ValueError("expected at least one key, got none")
        self.names = frozenset(names)

    def __len__(self) -> int:
        return len(self._by_digest)

    def find(self, presented: bytes | None) -> ApiKey | None:
        """Return the key whose text was presented, if it is one of these."""
        if presented is None:
            return None
        digest = sha256(presented).digest()
        key = self._by_digest.get(digest)
        if key is None or not hmac.compare_digest(key.digest, digest):
            return None
        return key


class KeyFile:
    """Keys of a file that is read again when it changes.

    A change that cannot be read leaves the keys as they were, and is reported once.

    Parameters
    ----------
    path
        One key per line, as the module says.

    Attributes
    ----------
    keys
        Those of the last good reading.
    error
        What was wrong with the file when it was last looked at; ``None`` if nothing.

    Raises
    ------
    ValueError
        If the file cannot be read the first time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _signature(path)
        self.keys = _read(path)
        self.error: str | None = None

    def reload(self) -> bool:
        """Read the file if it has changed since; return whether there are new keys.

        Costs one ``stat`` when nothing has changed. Call it every second or so.
        """
        # Taken before reading: what changes meanwhile is seen the next time.
        seen = _signature(self._path)
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self.keys = _read(self._path)
        except ValueError as error:
            self.error = f"{error}; the {len(self.keys)} keys from before stay valid"
            _logger.warning("API keys: %s", self.error)
            return False
        self.error = None
        _logger.info("API keys: %d read from %s", len(self.keys), self._path)
        return True


def keys_from_environment(environ: Mapping[str, str]) -> Keys | None:
    """Return the keys in the variable ``TRISKELE_API_KEYS``; ``None`` if it is not set.

    Parameters
    ----------
    environ
        The environment. Its lines may also be separated by semicolons.

    Raises
    ------
    ValueError
        If the variable is set and its value is not a list of keys.
    """
    value = environ.get(VARIABLE)
    if value is None:
        return None
    return parse_keys(value.replace(";", "\n"), source=VARIABLE)


def parse_keys(text: str, *, source: str) -> Keys:
    """Return the keys that are written one per line.

    Parameters
    ----------
    text
        As the module says; lines that begin with ``#`` and whatever follows a blank and ``#``
        are comments.
    source
        Where it came from, for messages.

    Raises
    ------
    ValueError
        With the source and the line.
    """
    keys: list[ApiKey] = []
    line_of: dict[str | bytes, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].split()
        if not words:
            continue
        try:
            key = _parse_line(words)
        except ValueError as error:
            raise ValueError(f"{source}, line {number}: {error}") from None
        for what, value in (("name", key.name), ("key", key.digest)):
            before = line_of.setdefault(value, number)
            if before != number:
                raise ValueError(f"{source}, line {number}: the {what} of line {before} again")
        keys.append(key)
    if not keys:
        raise ValueError(f"{source}: expected at least one key, got none")
    return Keys(keys)


def bearer_token(authorization: bytes | None) -> bytes | None:
    """Return the token of an ``Authorization: Bearer`` header's value, if it is one."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(b" ")
    token = token.strip()
    return token if scheme.lower() == b"bearer" and token else None


def _signature(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when the file does; ``None`` while there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _read(path: Path) -> Keys:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected UTF-8") from None
    return parse_keys(text, source=str(path))


def _parse_line(words: list[str]) -> ApiKey:
    limits = [word for word in words[2:] if "=" not in word]
    if len(words) < 2 or len(limits) > 2:
        raise ValueError(
            "expected a name, a key, and up to two limits per minute (requests, tokens), "
            f"got {len(words)} words"
        )
    name, key = words[:2]
    # What arrived is not shown: the columns may have been swapped.
    if not NAME.fullmatch(name):
        raise ValueError("expected a name of up to 64 letters, digits, dots, dashes, _ and @ first")
    requests, tokens, *_ = (*map(_limit, limits), None, None)
    wishes = dict(parse_wish(word) for word in words[2:] if "=" in word)
    return ApiKey(name, _digest(key), Allowance(requests, tokens), wishes)


def _digest(key: str) -> bytes:
    if key.startswith(HASHED):
        digits = key.removeprefix(HASHED)
        if not HEX.fullmatch(digits):
            raise ValueError(f"expected 64 hexadecimal digits after {HASHED}")
        return bytes.fromhex(digits)
    if len(key) < MIN_CHARACTERS:
        raise ValueError(f"expected a key of at least {MIN_CHARACTERS} characters")
    return sha256(key.encode()).digest()


def _limit(word: str) -> int | None:
    if word == UNLIMITED:
        return None
    if not LIMIT.fullmatch(word):
        raise ValueError("expected limits that are whole numbers above 0, or - for none")
    return int(word)
