"""Parameter groups out of assignments: what is stepped alike stands together.

Nothing here knows how a role was read off a model (``roles``), nor what an optimizer makes of a
group.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from triskele.optim.roles import Assignment

KEPT_APART = frozenset({"embedding", "tied embedding", "head"})


def parameter_groups(
    assignments: list[Assignment], *, query_key_gain: float = 1.0, feed_forward_gain: float = 1.0
) -> list[dict[str, Any]]:
    """Join assignments into named parameter groups for ``DynMuon``.

    Matrices of one role that are read in the same way share a group. Embeddings, heads and the
    rest (norms, biases, scalars, routers) are kept apart, so that each has its own learning rate.
    Updates of query and key projections, fused or not, are multiplied by ``query_key_gain``, those
    of feed-forward matrices and experts by ``feed_forward_gain``.

    Raises
    ------
    ValueError
        If no parameter is a hidden matrix.
    """
    if not any(a.algorithm == "dynmuon" for a in assignments):
        names = ", ".join(a.name for a in assignments[:4]) or "none"
        raise ValueError(
            f"no hidden matrix among {len(assignments)} trainable parameters ({names} …): "
            "use torch.optim.AdamW, or assign matrices with overrides={'pattern': 'dynmuon'}"
        )
    groups: dict[tuple[object, ...], dict[str, Any]] = {}
    for assignment in assignments:
        view = assignment.view
        group: dict[str, Any] = {"algorithm": assignment.algorithm, "role": assignment.role}
        key: tuple[object, ...] = (assignment.algorithm, assignment.role, view)
        if assignment.algorithm == "dynmuon":
            group |= {
                "flatten": view.flatten,
                "transposed": view.transposed,
                "split": view.split,
                "gains": _gains(assignment, query_key_gain, feed_forward_gain),
            }
        elif assignment.role not in KEPT_APART:
            group["role"] = "other"
            key = (assignment.algorithm, "other")
        groups.setdefault(key, {**group, "params": []})["params"].append(
            (assignment.name, assignment.parameter)
        )
    return list(groups.values())


def describe_groups(groups: Sequence[Mapping[str, Any]]) -> str:
    """Return one line per parameter of named groups: algorithm, shape, role, name."""
    lines = []
    for group in groups:
        names = group.get("param_names", [""] * len(group["params"]))
        for name, parameter in zip(names, group["params"], strict=True):
            shape = "×".join(str(size) for size in parameter.shape) or "scalar"
            role = group.get("role", "")
            lines.append(f"{group['algorithm']:<8} {shape:<16} {role:<24} {name}".rstrip())
    return "\n".join(lines)


def _gains(
    assignment: Assignment, query_key_gain: float, feed_forward_gain: float
) -> tuple[float, ...]:
    """Return the gain of each part of a matrix, or nothing where all of them are 1."""
    n_parts = max(1, len(assignment.view.split))
    gains = (1.0,) * n_parts
    if assignment.role == "query or key":
        gains = (query_key_gain,) * n_parts
    elif assignment.role == "fused query-key-value" and n_parts >= 3:
        gains = (query_key_gain,) * (n_parts - 1) + (1.0,)
    elif assignment.role.startswith(("feed-forward", "experts")):
        gains = (feed_forward_gain,) * n_parts
    return gains if any(gain != 1.0 for gain in gains) else ()
