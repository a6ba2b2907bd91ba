"""What goes wrong on the way to an upstream, and how errors look to a client of OpenAI's API."""

import msgspec


class UpstreamError(Exception):
    """An upstream did not answer as it should; the text says how, without naming credentials."""


class Unreachable(UpstreamError):
    """No connection could be made: nothing was sent."""


class BrokenOff(UpstreamError):
    """The connection ended, or spoke no HTTP, before the answer was whole."""


KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
}


def json_error(
    status: int,
    message: str,
    *,
    kind: str | None = None,
    code: str | None = None,
    param: str | None = None,
) -> bytes:
    """Return the body of an error answer, as OpenAI's clients expect it.

    Parameters
    ----------
    status
        Of the answer; it names the kind of error where ``kind`` does not.
    message
        One sentence for a person.
    kind, code, param
        What programs go by: the kind of error, a word for it, and the field that is to blame.
    """
    return msgspec.json.encode(
        {
            "error": {
                "message": message,
                "type": kind or KINDS.get(status, "server_error"),
                "param": param,
                "code": code,
            }
        }
    )
