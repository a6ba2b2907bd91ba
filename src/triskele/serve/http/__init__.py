"""HTTP/1.1 for gateway and engine: a server that hands on whole requests, and pooled upstreams.

>>> server = HttpServer(application, limits=Limits(body_bytes=1 << 20))
>>> await server.start("127.0.0.1", 8000)
>>> answer = await fetch(Origin("http://127.0.0.1:8000"), "GET", "/health")
"""

from triskele.serve.http.client_connection import Application
from triskele.serve.http.errors import BrokenOff, Unreachable, UpstreamError, json_error
from triskele.serve.http.fetch import Response, fetch, request_head
from triskele.serve.http.limits import Limits
from triskele.serve.http.origin import Origin
from triskele.serve.http.reply import Reply
from triskele.serve.http.request import Headers, HttpRequest
from triskele.serve.http.server import HttpServer
from triskele.serve.http.upstream_connection import Answer, Flow

__all__ = [
    "Answer",
    "Application",
    "BrokenOff",
    "Flow",
    "Headers",
    "HttpRequest",
    "HttpServer",
    "Limits",
    "Origin",
    "Reply",
    "Response",
    "Unreachable",
    "UpstreamError",
    "fetch",
    "json_error",
    "request_head",
]
