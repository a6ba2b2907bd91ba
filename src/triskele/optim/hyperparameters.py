"""What a parameter group may be asked for: one check for every algorithm.

It knows the ranges of hyperparameters and nothing of what they do.
"""

from collections.abc import Mapping
from typing import Any, get_args

from torch import Tensor

from triskele.optim.matrices import AdjustLr
from triskele.optim.spectral import Method, Scale


def check_group(group: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` on the first hyperparameter of ``group`` outside its range."""
    lr = group["lr"]
    if isinstance(lr, Tensor):
        if lr.numel() != 1:
            raise ValueError(f"lr as a tensor must have one element, got {lr.numel()}")
    elif not lr >= 0.0:
        raise ValueError(f"lr must be ≥ 0, got {lr}")
    if not group["weight_decay"] >= 0.0:
        raise ValueError(f"weight_decay must be ≥ 0, got {group['weight_decay']}")
    if group["algorithm"] == "dynmuon":
        _check_matrices(group)
    elif not all(0.0 <= beta < 1.0 for beta in group["betas"]):
        raise ValueError(f"betas must lie in [0, 1), got {group['betas']}")
    elif group["algorithm"] == "soap":
        _check_soap(group)


def _check_matrices(group: Mapping[str, Any]) -> None:
    if not 0.0 <= group["momentum"] < 1.0:
        raise ValueError(f"momentum must lie in [0, 1), got {group['momentum']}")
    if not group["update_floor"] >= 0.0:
        raise ValueError(f"update_floor must be ≥ 0, got {group['update_floor']}")
    if not group["total_steps"] >= 1:
        raise ValueError(f"total_steps must be ≥ 1, got {group['total_steps']}")
    if not callable(group["schedule"]):
        raise ValueError(f"schedule must be a callable of q, got {group['schedule']!r}")
    for name, choices in (("method", Method), ("scale", Scale), ("adjust_lr", AdjustLr)):
        if group[name] not in get_args(choices):
            raise ValueError(f"{name} must be one of {get_args(choices)}, got {group[name]!r}")


def _check_soap(group: Mapping[str, Any]) -> None:
    if not 0.0 <= group["covariance_beta"] < 1.0:
        raise ValueError(f"covariance_beta must lie in [0, 1), got {group['covariance_beta']}")
    if not group["refresh_every"] >= 1:
        raise ValueError(f"refresh_every must be ≥ 1, got {group['refresh_every']}")
    if group["capturable"]:
        raise ValueError("soap turns its basis on the host: it cannot be capturable")
