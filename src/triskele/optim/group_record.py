"""A parameter group as plain data, the form in which a checkpoint keeps it.

``torch.load(weights_only=True)`` and ``torch.distributed.checkpoint`` pass on numbers, strings,
lists and dicts; neither knows of schedules, and the latter refuses dtypes and drops empty tuples.
Nothing here knows what an option means.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any

import torch

from triskele.optim.schedule import PowerSchedule

DTYPES = ("dtype", "momentum_dtype")


def plain_group(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``group`` with its dtypes as names and its schedule as a dict.

    A schedule that is a bare callable becomes None.
    """
    plain = dict(group)
    for key in DTYPES:
        if isinstance(plain.get(key), torch.dtype):
            plain[key] = str(plain[key]).removeprefix("torch.")
    if "schedule" in plain:
        schedule = plain["schedule"]
        plain["schedule"] = schedule.to_dict() if isinstance(schedule, PowerSchedule) else None
    return plain


def restore_group(group: MutableMapping[str, Any], before: Mapping[str, Any]) -> None:
    """Turn the plain ``group`` back, in place; what it lacks is as it was ``before``.

    A distributed checkpoint lacks empty tuples and an older one new options; a schedule that was
    not stored stays the one at hand.
    """
    for key, value in before.items():
        group.setdefault(key, value)
    for key in DTYPES:
        if isinstance(group.get(key), str):
            group[key] = getattr(torch, group[key])
    if "schedule" in group:
        plain = group["schedule"]
        group["schedule"] = before["schedule"] if plain is None else PowerSchedule(**plain)
