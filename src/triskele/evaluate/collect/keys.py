"""API keys, which must reach an endpoint's header and nothing else.

A key comes from an environment variable or a file, never from the command line itself. No message
here repeats what the options were given, because it may be the key put in the wrong place.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from triskele.evaluate.collect.endpoints import Endpoint, per_endpoint

HIDDEN = "[key]"
SHORTEST = 8
"""Characters of a key that is worth hiding; placeholders such as EMPTY are shorter."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PRINTABLE = re.compile(r"[!-~]+")


class Key:
    """A key that does not show itself.

    Parameters
    ----------
    value
        The key: printable ASCII without spaces.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return f"Key({HIDDEN})"

    def header(self) -> dict[str, str]:
        """Return the header that carries it."""
        return {"Authorization": f"Bearer {self._value}"}

    def hide(self, text: str) -> str:
        """Return a text without the key."""
        return text.replace(self._value, HIDDEN) if len(self._value) >= SHORTEST else text


def read_keys(
    endpoints: Mapping[str, Endpoint],
    *,
    variables: Sequence[str] = (),
    files: Sequence[str] = (),
    environment: Mapping[str, str],
) -> dict[str, Key]:
    """Return the keys by endpoint; endpoints without one are asked without.

    Parameters
    ----------
    endpoints
        Where keys can go. With more than one, each key must say where: a key is never shown to
        two endpoints unless it was given twice.
    variables, files
        Words ``[ENDPOINT=]VARIABLE`` and ``[ENDPOINT=]PATH``. A file holds the key alone.
    environment
        The environment variables.

    Raises
    ------
    ValueError
        If a key is not there, is not printable, or belongs nowhere.
    """
    keys: dict[str, Key] = {}
    for option, words in (("--key-env", variables), ("--key-file", files)):
        for name, word in per_endpoint(words, endpoints, option=option).items():
            if name is None and len(endpoints) > 1:
                raise ValueError(f"expected {option} ENDPOINT=… with each of several endpoints")
            endpoint = name or next(iter(endpoints))
            if endpoint in keys:
                raise ValueError(f"expected one key for endpoint {endpoint!r}, got two")
            read = _of_variable(word, environment) if option == "--key-env" else _of_file(word)
            if PRINTABLE.fullmatch(read) is None:
                raise ValueError(f"what {option} leads to for {endpoint!r} is not a key")
            keys[endpoint] = Key(read)
    return keys


def _of_variable(name: str, environment: Mapping[str, str]) -> str:
    if VARIABLE.fullmatch(name) is None:
        raise ValueError("expected the name of an environment variable in --key-env, not a key")
    if not environment.get(name):
        raise ValueError("the environment variable that --key-env names is not set")
    return environment[name].strip()


def _of_file(name: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError, RuntimeError):
        raise ValueError("the file that --key-file names cannot be read") from None
