from hashlib import sha256

import pytest

from triskele.serve.gateway import ApiKey, Keys
from triskele.serve.gateway.access import Access
from triskele.serve.gateway.rate import Allowance
from triskele.serve.gateway.refusal import Refusal
from triskele.serve.http import HttpRequest

KEY = b"sk-0123456789abcdef"


def key(name: str = "ann", text: bytes = KEY, allowance: Allowance | None = None) -> ApiKey:
    return ApiKey(name, sha256(text).digest(), allowance or Allowance())


def request(authorization: bytes | None) -> HttpRequest:
    headers = [] if authorization is None else [(b"authorization", authorization)]
    return HttpRequest("POST", "/v1/chat/completions", "", headers)


def test_where_there_are_no_keys_everybody_may() -> None:
    access = Access(lambda: None)
    assert access.is_open
    assert access.identify(request(None)) is None
    assert access.identify(request(b"Bearer whatever")) is None
    for _ in range(1000):
        access.admit(None, 10**6, 0.0)
    access.charge(None, 10**6, 0.0)


def test_a_request_is_known_by_its_key() -> None:
    keys = Keys([key(), key("ben", b"sk-fedcba9876543210")])
    access = Access(lambda: keys)
    assert not access.is_open
    found = access.identify(request(b"Bearer sk-fedcba9876543210"))
    assert found is not None
    assert found.name == "ben"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic " + KEY,
        KEY,
        b"Bearer " + KEY[:-1],
        b"Bearer " + KEY + b"0",
        b"Bearer \xff\xfe",
        b"Bearer " + sha256(KEY).hexdigest().encode(),
    ],
)
def test_who_has_no_key_is_refused_without_naming_what_was_sent(
    authorization: bytes | None,
) -> None:
    access = Access(lambda: Keys([key()]))
    with pytest.raises(Refusal) as caught:
        access.identify(request(authorization))
    refusal = caught.value
    assert (refusal.status, refusal.code, refusal.retry_after) == (401, "invalid_api_key", None)
    assert KEY.decode() not in refusal.message


def test_keys_are_asked_for_anew_each_time() -> None:
    valid: list[Keys | None] = [Keys([key()])]
    access = Access(lambda: valid[-1])
    assert access.identify(request(b"Bearer " + KEY)) is not None
    valid.append(Keys([key("ben", b"sk-fedcba9876543210")]))
    with pytest.raises(Refusal):
        access.identify(request(b"Bearer " + KEY))
    valid.append(None)
    assert access.is_open


def test_an_allowance_that_is_used_up_is_told_with_the_time_to_try_again() -> None:
    ann = key(allowance=Allowance(requests_per_minute=2))
    access = Access(lambda: Keys([ann]))
    access.admit(ann, 1, 0.0)
    access.admit(ann, 1, 0.0)
    with pytest.raises(Refusal) as caught:
        access.admit(ann, 1, 0.0)
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
    assert caught.value.retry_after == pytest.approx(30.0)
    access.admit(ann, 1, 30.0)


def test_tokens_of_answers_count_once_they_are_known() -> None:
    ann = key(allowance=Allowance(tokens_per_minute=60))
    ben = key("ben", b"sk-fedcba9876543210")
    access = Access(lambda: Keys([ann, ben]))
    access.admit(ann, 10, 0.0)
    access.charge(ann, 80, 0.0)
    with pytest.raises(Refusal) as caught:
        access.admit(ann, 1, 0.0)
    assert caught.value.retry_after == pytest.approx(31.0)
    access.admit(ben, 10**6, 0.0)
