from tests.serve.gateway.openai_worker import member

from triskele.serve.gateway.member import Tally


def test_the_head_of_a_request_names_the_worker_and_carries_its_credential() -> None:
    given = member("a", port=8001, credential="secret")
    assert given.head("/v1/completions?x=1") == (
        b"POST /v1/completions?x=1 HTTP/1.1\r\n"
        b"host: a.local:8001\r\n"
        b"authorization: Bearer secret\r\n"
    )
    assert given.has_credential
    assert given.authorization == [(b"authorization", b"Bearer secret")]


def test_a_worker_without_a_credential_gets_none() -> None:
    assert b"authorization" not in member("a").head("/")
    assert member("a").authorization == []
    assert not member("a").has_credential


def test_hostile_targets_do_not_fill_the_memory() -> None:
    given = member("a")
    heads = {given.head(f"/v1/completions?{n}") for n in range(1000)}
    assert len(heads) == 1000
    assert given.head("/v1/completions?999") in heads
    assert len(given._heads) == 16


def test_the_credential_is_in_no_representation() -> None:
    given = member("a", credential="secret")
    assert "secret" not in repr(given)
    assert "secret" not in repr(given.worker)


def test_the_share_of_cached_tokens_is_unknown_until_somebody_says() -> None:
    tally = Tally()
    assert tally.hit_rate is None
    tally.n_prompt, tally.n_cached = 8, 2
    assert tally.hit_rate == 0.25
