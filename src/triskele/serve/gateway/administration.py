"""The admin API: what the fleet is doing, workers added, drained and removed, the policy switched.

Without a token it is for the machine the gateway runs on, and only while the gateway listens there
alone: by the client's address and by the name it used, which a page of a foreign site rebound to
this address could not give; and no page of a foreign site may change anything.
"""

import hmac
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec

from triskele.serve.gateway.keys import bearer_token
from triskele.serve.gateway.member import Member
from triskele.serve.gateway.refusal import Refusal
from triskele.serve.http import HttpRequest, Origin, Reply

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
PREFIX = "/admin/"


class Administered(Protocol):
    """What can be administered."""

    def status(self) -> dict[str, object]:
        """Return all that the dashboard shows."""

    def add(self, url: str, name: str | None) -> Member:
        """List a worker; ``ValueError`` if it cannot be."""

    def change(self, name: str, what: str) -> Member:
        """``drain``, ``resume`` or ``remove`` a worker; ``KeyError`` if there is none."""

    def switch(self, policy: str) -> None:
        """Route by another policy; ``ValueError`` if there is none."""


class _AddWorker(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    name: str | None = None


class _Policy(msgspec.Struct, forbid_unknown_fields=True):
    policy: str


Form = TypeVar("Form", bound=msgspec.Struct)


class Administration:
    """Answers under ``/admin/``.

    Parameters
    ----------
    subject
        What is administered.
    describe
        Returns a worker as the API shows it.
    token
        Whoever has it may; without one, see the module.
    is_local
        Whether the gateway listens on this machine only.
    allowed
        Patterns such as ``*.internal:8000``: hosts, with their ports, that workers may have.
    """

    def __init__(
        self,
        subject: Administered,
        *,
        describe: Callable[[Member], dict[str, object]],
        token: str | None,
        is_local: bool,
        allowed: tuple[str, ...],
    ) -> None:
        self._subject = subject
        self._describe = describe
        self._token = None if token is None else token.encode()
        self._is_local = is_local
        self._allowed = allowed

    def authorise(self, request: HttpRequest) -> None:
        """Refuse whoever may not."""
        if self._token is not None:
            given = bearer_token(request.header(b"authorization"))
            if given is None or not hmac.compare_digest(given, self._token):
                raise Refusal(401, "expected the admin token as bearer token", code="not_admin")
        elif not (self._is_local and is_loopback(request.client) and _asks_loopback(request)):
            raise Refusal(403, "the admin API is off beyond this machine: no admin token is set")
        if request.method != "GET" and _is_foreign(request):
            raise Refusal(403, "a page of another site may not change anything here")

    def __call__(self, request: HttpRequest, reply: Reply) -> None:
        """Answer a request under ``/admin/``."""
        self.authorise(request)
        words = request.path.removeprefix(PREFIX).split("/")
        match words:
            case ["status"]:
                _expect_method(request, "GET")
                _answer(reply, 200, self._subject.status())
            case ["workers"] if request.method == "GET":
                _answer(reply, 200, {"workers": self._subject.status()["workers"]})
            case ["workers"]:
                _expect_method(request, "POST")
                self._add(request, reply)
            case ["workers", name]:
                _expect_method(request, "DELETE")
                self._change(name, "remove", reply)
            case ["workers", name, "drain" | "resume" as what]:
                _expect_method(request, "POST")
                self._change(name, what, reply)
            case ["policy"]:
                _expect_method(request, "PUT")
                self._switch(request, reply)
            case _:
                raise Refusal(404, "there is no such page")

    def allowed_methods(self, path: str) -> bytes:
        """Return the method of a page that exists."""
        match path.removeprefix(PREFIX).split("/"):
            case ["status"]:
                return b"GET"
            case ["policy"]:
                return b"PUT"
            case ["workers"]:
                return b"GET, POST"
            case ["workers", _]:
                return b"DELETE"
        return b"POST"

    def _add(self, request: HttpRequest, reply: Reply) -> None:
        asked = _read(request, _AddWorker)
        if asked.name is not None and not NAME.fullmatch(asked.name):
            raise Refusal(400, "expected a name of letters, digits and . _ : - of up to 100")
        try:
            # Before anything is asked of it: whoever may add workers may not probe the network.
            url = Origin(asked.url).url
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        if not is_allowed(url, self._allowed):
            host = urlsplit(url).netloc
            raise Refusal(403, f"workers at {host!r} are not allowed; see --allow-upstream")
        try:
            member = self._subject.add(url, asked.name)
        except ValueError as error:
            raise Refusal(409, str(error)) from None
        _answer(reply, 201, self._describe(member))

    def _change(self, quoted: str, what: str, reply: Reply) -> None:
        try:
            member = self._subject.change(unquote(quoted), what)
        except KeyError:
            raise Refusal(404, "there is no worker of that name") from None
        _answer(reply, 200, self._describe(member))

    def _switch(self, request: HttpRequest, reply: Reply) -> None:
        policy = _read(request, _Policy).policy
        try:
            self._subject.switch(policy)
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        _answer(reply, 200, {"policy": policy})


def is_allowed(url: str, allowed: tuple[str, ...]) -> bool:
    """Tell whether a worker's address matches one of the patterns, which are of ``host:port``."""
    parts = urlsplit(url)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    host = f"{parts.hostname}:{port}"
    return any(fnmatchcase(host, pattern.lower()) for pattern in allowed)


def is_loopback(address: str) -> bool:
    """Tell whether an address is this machine's own."""
    if address == "localhost":
        return True
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _asks_loopback(request: HttpRequest) -> bool:
    host = (request.header(b"host") or b"").decode("latin-1")
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return is_loopback(name.strip("[]"))


def _is_foreign(request: HttpRequest) -> bool:
    """Tell whether a browser says that a page from elsewhere sent the request."""
    site = request.header(b"sec-fetch-site")
    if site is not None and site not in (b"same-origin", b"none"):
        return True
    origin = request.header(b"origin")
    return origin is not None and origin.partition(b"://")[2] != request.header(b"host")


def _expect_method(request: HttpRequest, method: str) -> None:
    if request.method != method:
        raise Refusal(405, f"expected {method}, got {request.method}")


def _read(request: HttpRequest, form: type[Form]) -> Form:
    kind = (request.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise Refusal(415, "expected a body of application/json")
    try:
        return msgspec.json.decode(request.body, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"malformed body: {error or 'nested too deeply'}") from None


def _answer(reply: Reply, status: int, body: dict[str, object]) -> None:
    headers = [(b"cache-control", b"no-store")]
    reply.send(status, msgspec.json.encode(body), headers=headers)
