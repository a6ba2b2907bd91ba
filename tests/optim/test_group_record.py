"""Groups survive the trip through plain data, whatever a checkpoint drops on the way."""

import io
from typing import Any

import pytest
import torch

from triskele.optim.group_record import plain_group, restore_group
from triskele.optim.schedule import PowerSchedule

GROUP: dict[str, Any] = {
    "lr": 0.02,
    "dtype": None,
    "momentum_dtype": torch.bfloat16,
    "schedule": PowerSchedule(start=0.5),
    "split": (),
    "step": 3,
}
PLAIN = (int, float, str, bytes, list, tuple, dict, torch.Tensor, type(None))


def test_a_plain_group_holds_nothing_that_a_distributed_checkpoint_refuses() -> None:
    assert all(isinstance(value, PLAIN) for value in plain_group(GROUP).values())
    assert GROUP["momentum_dtype"] is torch.bfloat16, "the group itself is left alone"


def test_a_group_comes_back_as_it_was() -> None:
    group = plain_group(GROUP)
    restore_group(group, {**GROUP, "lr": 1.0, "schedule": PowerSchedule()})
    assert group == GROUP


def test_a_plain_group_loads_with_weights_only() -> None:
    file = io.BytesIO()
    torch.save(plain_group(GROUP), file)
    file.seek(0)
    group = torch.load(file, weights_only=True)
    restore_group(group, GROUP)
    assert group == GROUP


@pytest.mark.parametrize("lost", ["split", "dtype", "lr"])
def test_what_a_checkpoint_lacks_stays_as_it_was(lost: str) -> None:
    group = plain_group(GROUP)
    del group[lost]
    restore_group(group, {**GROUP, lost: "as it was"} if lost == "lr" else GROUP)
    assert group[lost] == ("as it was" if lost == "lr" else GROUP[lost])


def test_a_bare_callable_is_not_stored_and_stays() -> None:
    group = {**GROUP, "schedule": lambda q: 0.5 - q}
    plain = plain_group(group)
    assert plain["schedule"] is None
    at_hand = {**GROUP, "schedule": lambda q: 0.25}
    restore_group(plain, at_hand)
    assert plain["schedule"] is at_hand["schedule"]


def test_a_group_without_a_schedule_gets_none() -> None:
    group = plain_group({"lr": 0.1, "algorithm": "adamw"})
    restore_group(group, {"lr": 0.2, "algorithm": "adamw"})
    assert group == {"lr": 0.1, "algorithm": "adamw"}
