"""The optimizers a run can choose, behind one small object that also moves their learning rates.

``dynmuon`` is this package's; ``muon`` is ``torch.optim.Muon`` for the hidden matrices with
``torch.optim.AdamW`` for the rest; ``adamw`` is ``torch.optim.AdamW`` for all. Which parameter is a
hidden matrix is decided by ``triskele.optim`` for every one of them, so that they differ in the
update alone.
"""

from typing import Any, Literal

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from triskele.optim import DynMuon, PowerSchedule, assign_parameters
from triskele.train.plan import Plan

BASE_LR = "initial_lr"
ADJUST_LR: Literal["original"] = "original"


class StepRule:
    """One or two torch optimizers that step together.

    Parameters
    ----------
    parts
        The optimizers; the first one steps the hidden matrices, in its first group or in those
        with ``algorithm="dynmuon"``.
    """

    def __init__(self, parts: list[Optimizer]) -> None:
        self.parts = parts
        for group in self._groups():
            group.setdefault(BASE_LR, group["lr"])

    def step(self) -> None:
        """Update all parameters."""
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def set_lr(self, multiplier: float) -> None:
        """Set every learning rate to this multiple of its peak."""
        for group in self._groups():
            group["lr"] = group[BASE_LR] * multiplier

    @property
    def lr(self) -> float:
        """The present learning rate of the hidden matrices."""
        groups = self.parts[0].param_groups
        hidden = next(x for x in groups if x.get("algorithm", "dynmuon") == "dynmuon")
        return float(hidden["lr"])

    @property
    def power(self) -> float | None:
        """The exponent p of the last update, where the optimizer has one."""
        exponents = [group["p"] for group in self._groups() if "p" in group]
        return float(exponents[0]) if exponents else None

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the state of all parts."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore what ``state_dict`` returned."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]


def make_optimizer(model: nn.Module, plan: Plan) -> StepRule:
    """Build the optimizer a plan asks for.

    Parameters
    ----------
    model
        What to train; a DDP-wrapped model shares the shaping among its processes.
    plan
        Names the optimizer and its settings. ``torch.optim.Muon`` computes in bfloat16 only, which
        takes a minute per step on a CPU without units for it: where a CPU trains in float32,
        ``muon`` is DynMuon at a constant p = 0 with the same Newton–Schulz iteration in float32.
    """
    if plan.optimizer == "dynmuon":
        return StepRule([_dynmuon(model, plan)])
    if plan.optimizer == "muon" and (plan.device, plan.precision) == ("cpu", "fp32"):
        return StepRule([_muon_in_float32(model, plan)])
    hidden, other = _sorted_by_role(model, plan)
    matrices = {"params": hidden, "lr": plan.lr, "weight_decay": plan.weight_decay}
    if plan.optimizer == "adamw":
        return StepRule([AdamW([matrices, *other], betas=plan.betas)])
    muon = Muon([matrices], momentum=plan.momentum, adjust_lr_fn=ADJUST_LR)
    return StepRule([muon, AdamW(other, betas=plan.betas)])


def _sorted_by_role(
    model: nn.Module, plan: Plan
) -> tuple[list[nn.Parameter], list[dict[str, Any]]]:
    """Return the hidden matrices, and a group for every other parameter."""
    rates = {
        "embedding": plan.embedding_lr,
        "tied embedding": plan.head_lr,
        "head": plan.head_lr,
    }
    hidden: list[nn.Parameter] = []
    other: list[dict[str, Any]] = []
    for assignment in assign_parameters(model):
        if assignment.algorithm == "dynmuon":
            hidden.append(assignment.parameter)
        else:
            lr = rates.get(assignment.role, plan.adam_lr)
            other.append({"params": [assignment.parameter], "lr": lr, "weight_decay": 0.0})
    return hidden, other


def _dynmuon(model: nn.Module, plan: Plan) -> DynMuon:
    return DynMuon.from_model(
        model,
        total_steps=plan.total_steps,
        lr=plan.lr,
        embedding_lr=plan.embedding_lr,
        head_lr=plan.head_lr,
        adamw_lr=plan.adam_lr,
        weight_decay=plan.weight_decay,
        momentum=plan.momentum,
        adamw_betas=plan.betas,
    )


def _muon_in_float32(model: nn.Module, plan: Plan) -> DynMuon:
    return DynMuon.from_model(
        model,
        total_steps=plan.total_steps,
        head="adamw",
        lr=plan.lr,
        embedding_lr=plan.embedding_lr,
        head_lr=plan.head_lr,
        adamw_lr=plan.adam_lr,
        weight_decay=plan.weight_decay,
        momentum=plan.momentum,
        schedule=PowerSchedule(shape="constant", start=0.0),
        method="newton_schulz",
        scale="none",
        query_key_gain=1.0,
        feed_forward_gain=1.0,
        split_heads=False,
        dtype=torch.float32,
        adjust_lr=ADJUST_LR,
        adamw_betas=plan.betas,
    )
