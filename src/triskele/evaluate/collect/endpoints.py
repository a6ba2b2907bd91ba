"""Who is asked, and where: models behind addresses that speak OpenAI's chat completions.

On the command line an endpoint is ``[NAME=]ADDRESS`` and a model ``[LABEL=]MODEL[@ENDPOINT]``. A
model's name may itself contain ``@``: what follows the last one is an endpoint only if it is the
name of one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

ONLY = "default"
"""The name of an endpoint that was given none."""
COMPLETIONS = "/chat/completions"
NAMED = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)=(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address up to and including its version, such as ``http://127.0.0.1:8000/v1``."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its label in the votes, the name its endpoint knows, and the endpoint's name."""

    label: str
    name: str
    endpoint: str


def read_endpoints(words: Sequence[str]) -> dict[str, Endpoint]:
    """Return the endpoints by name.

    Raises
    ------
    ValueError
        If there is none, two have the same name, or an address is not plain http or https. The
        message does not repeat an address that may hold a password.
    """
    if not words:
        raise ValueError("expected at least one address in --endpoints")
    found: dict[str, Endpoint] = {}
    for word in words:
        name, address = _named(word)
        if name is None and len(words) > 1:
            raise ValueError("expected NAME=ADDRESS for each of several endpoints")
        name = name or ONLY
        if name in found:
            raise ValueError(f"expected different names of endpoints, got {name!r} twice")
        found[name] = Endpoint(name, _address(address, name))
    return found


def read_models(words: Sequence[str], endpoints: Mapping[str, Endpoint]) -> dict[str, Model]:
    """Return the models by label, in the order given.

    Raises
    ------
    ValueError
        If a model is at no endpoint, or two have the same label.
    """
    found: dict[str, Model] = {}
    for word in words:
        model = read_model(word, endpoints)
        if model.label in found:
            raise ValueError(
                f"expected different labels of models, got {model.label!r} twice; "
                "LABEL=MODEL gives a model another"
            )
        found[model.label] = model
    return found


def read_model(word: str, endpoints: Mapping[str, Endpoint]) -> Model:
    """Return the model that ``[LABEL=]MODEL[@ENDPOINT]`` stands for."""
    label, rest = _named(word)
    name, _, endpoint = rest.rpartition("@")
    if endpoint not in endpoints:
        if len(endpoints) > 1:
            raise ValueError(f"expected MODEL@ENDPOINT with one of {_names(endpoints)}, got {word}")
        name, endpoint = rest, next(iter(endpoints))
    if not name.strip():
        raise ValueError(f"expected the name of a model, got {word!r}")
    return Model(label or name, name, endpoint)


def per_endpoint(
    words: Sequence[str], endpoints: Mapping[str, Endpoint], *, option: str
) -> dict[str | None, str]:
    """Split words ``[ENDPOINT=]VALUE``; a value without a name stands under None.

    Raises
    ------
    ValueError
        If a name is not an endpoint's, or stands twice. The message does not repeat the value.
    """
    found: dict[str | None, str] = {}
    for word in words:
        match = NAMED.fullmatch(word)
        name, value = (match["name"], match["value"]) if match else (None, word)
        if name is not None and name not in endpoints:
            known = _names(endpoints)
            raise ValueError(f"{option} names an endpoint that is not there; there are: {known}")
        if name in found:
            which = "no endpoint" if name is None else repr(name)
            raise ValueError(f"{option} was given twice for {which}")
        found[name] = value
    return found


def _named(word: str) -> tuple[str | None, str]:
    match = NAMED.fullmatch(word)
    return (match["name"], match["value"]) if match else (None, word)


def _address(address: str, name: str) -> str:
    expected = f"expected http://HOST/v1 or https://HOST/v1 as the address of endpoint {name!r}"
    try:
        parts = urlsplit(address)
        is_plain = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_plain = is_plain and (parts.port is None or parts.port > 0)
    except ValueError:
        is_plain = False
    if not is_plain:
        raise ValueError(expected)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"{expected}, without user, password, query or fragment")
    return address.rstrip("/").removesuffix(COMPLETIONS).rstrip("/")


def _names(endpoints: Mapping[str, Endpoint]) -> str:
    return ", ".join(endpoints)
