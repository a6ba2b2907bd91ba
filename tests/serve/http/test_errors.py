import json

import pytest

from triskele.serve.http import BrokenOff, Unreachable, UpstreamError, json_error


def read(body: bytes) -> dict[str, object]:
    whole = json.loads(body)
    assert whole.keys() == {"error"}
    error = whole["error"]
    assert isinstance(error, dict)
    assert error.keys() == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (408, "timeout_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (431, "invalid_request_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_the_status_names_the_kind_of_error(status: int, kind: str) -> None:
    error = read(json_error(status, "no"))
    assert error == {"message": "no", "type": kind, "param": None, "code": None}


def test_what_programs_go_by_can_be_said() -> None:
    error = read(json_error(400, "é\n", kind="mine", code="too_long", param="messages"))
    assert error == {"message": "é\n", "type": "mine", "param": "messages", "code": "too_long"}


def test_every_failure_of_an_upstream_can_be_caught_as_one() -> None:
    assert issubclass(Unreachable, UpstreamError)
    assert issubclass(BrokenOff, UpstreamError)
    assert not issubclass(BrokenOff, Unreachable)
