"""Asks endpoints over HTTP: one attempt per call, no retries and no limits of its own.

Keys go into the header of requests to the endpoint they were given for. Redirects are not followed,
so that a key cannot be carried elsewhere, and no cookie is kept. Nothing is logged.
"""

from collections.abc import Callable, Mapping
from types import TracebackType

import aiohttp

from triskele.evaluate.collect.endpoints import COMPLETIONS, Endpoint
from triskele.evaluate.collect.faults import EndpointFault, TransientFault
from triskele.evaluate.collect.keys import Key
from triskele.evaluate.collect.reply import Reply, Response, read_reply, refusal_of
from triskele.evaluate.collect.request import Dialect, Request, body_of, other_dialect
from triskele.evaluate.collect.retry import seconds_of

CONNECT_SECONDS = 30.0
UNCONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
LONGEST_ANSWER = 1 << 24
"""Bytes; a longer one is not an answer."""
CHUNK = 1 << 16


class Client:
    """Sends requests to endpoints; to be entered with ``async with``.

    Parameters
    ----------
    endpoints
        Where to send, by name.
    keys
        API keys by the name of their endpoint.
    timeout
        Seconds that an attempt may take.
    clock
        Unix time, for dates in ``Retry-After``.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        keys: Mapping[str, Key],
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self._endpoints, self._keys, self._clock = endpoints, keys, clock
        self._timeout = timeout
        self._dialects: dict[tuple[str, str], Dialect] = {}
        self._reached: set[str] = set()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Client":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self._timeout, sock_connect=min(CONNECT_SECONDS, self._timeout)
            ),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def ask(self, endpoint: str, request: Request) -> Reply:
        """Send a request and return the reply.

        If the model refuses a parameter that has another form, the other form is sent at once and
        remembered.

        Raises
        ------
        EndpointFault, RequestFault, TransientFault
            If there is no reply.
        """
        spoken = (endpoint, request.model)
        while True:
            dialect = self._dialects.get(spoken, Dialect())
            response = await self._send(endpoint, request, dialect)
            other = other_dialect(dialect, refusal_of(response), request)
            if other is None:
                return read_reply(response)
            self._dialects[spoken] = other

    async def _send(self, endpoint: str, request: Request, dialect: Dialect) -> Response:
        assert self._session is not None, "the client was not entered"
        address, key = self._endpoints[endpoint].address, self._keys.get(endpoint)
        where = f"{request.model} at {address}"
        try:
            async with self._session.post(
                f"{address}{COMPLETIONS}",
                json=body_of(request, dialect),
                headers=None if key is None else key.header(),
                allow_redirects=False,
            ) as response:
                self._reached.add(endpoint)
                return Response(
                    status=response.status,
                    content=await _content(response, where),
                    where=where,
                    retry_after=seconds_of(response.headers.get("Retry-After"), now=self._clock()),
                    has_key=key is not None,
                    hide=str if key is None else key.hide,
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            fault = _fault(error, where, self._timeout)
            if isinstance(error, UNCONNECTED) and endpoint not in self._reached:
                # Nobody has been there yet: an address that is wrong, more likely than an outage.
                raise EndpointFault(str(fault)) from None
            raise fault from None


async def _content(response: aiohttp.ClientResponse, where: str) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK):
        content += chunk
        if len(content) > LONGEST_ANSWER:
            raise TransientFault(f"{where}: the answer does not end", may_be_billed=True)
    return bytes(content)


def _fault(error: Exception, where: str, timeout: float) -> Exception:
    """Return the fault behind what the connection raised, in words of our own."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return EndpointFault(f"{where}: its certificate is not trusted")
    if isinstance(error, aiohttp.ClientSSLError):
        return EndpointFault(f"{where}: no secure connection; is it http instead of https?")
    if isinstance(error, aiohttp.InvalidURL):
        return EndpointFault(f"{where}: this is no address")
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error.strerror or "no such host"
        return TransientFault(f"{where}: no connection ({reason})")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TransientFault(f"{where}: no connection in time")
    if isinstance(error, TimeoutError):
        return TransientFault(f"{where}: no answer within {timeout:g} s", may_be_billed=True)
    if isinstance(error, aiohttp.ClientPayloadError):
        return TransientFault(f"{where}: the answer was cut off", may_be_billed=True)
    return TransientFault(f"{where}: the connection broke", may_be_billed=True)
