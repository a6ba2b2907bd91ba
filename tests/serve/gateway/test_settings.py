import dataclasses

import pytest

from triskele.serve.gateway.settings import Queueing, Settings


@pytest.mark.parametrize("wrong", [{"n_per_worker": 0}, {"n_queued": -1}, {"queue_seconds": 0.0}])
def test_a_gateway_that_lets_nobody_in_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected room for at least one request"):
        Queueing(**wrong)


def test_a_queue_may_have_no_room() -> None:
    assert Queueing(n_queued=0).n_queued == 0


def test_the_default_is_lbgr_before_workers_that_evict_what_was_used_longest_ago() -> None:
    assert Settings().policy.label == "lbgr+lru"
    assert Settings().allow_upstream == ()
    assert not Settings().keeps_text


def test_settings_are_values() -> None:
    assert Settings() == Settings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().seed = 1  # type: ignore[misc]
