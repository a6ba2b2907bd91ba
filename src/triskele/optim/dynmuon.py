"""DynMuon: momentum M = UΣVᵀ is stepped along UΣᵖVᵀ, with p falling over training.

The method is DynMuon (arXiv 2605.17109) on Muon (Jordan et al., 2024). For a matrix W with
gradient G, at training fraction q = t / T:

    B ← μ B + (1 − μ) G                       momentum, kept as a running mean
    M = μ B + (1 − μ) G, or B                 Nesterov's, or the plain one
    D = U Σ^p(q) Vᵀ of M, ‖D‖_F = √min(m, n)
    W ← W − lr·λ·W − lr·ratio(m, n)·D         decoupled decay

Everything that is not a matrix steps by AdamW in the same optimizer. The optimizer does not know
how UΣᵖVᵀ is computed (``spectral``), which parameter is a matrix (``groups``), nor where matrices
live in a distributed run (``placement``).
"""

from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any, Self, get_args

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.nn.parallel import DistributedDataParallel
from torch.optim.optimizer import Optimizer, ParamsT

from triskele.optim.elementwise import adamw_step, init_adamw_state
from triskele.optim.groups import Algorithm, assign_parameters, parameter_groups
from triskele.optim.matrices import AdjustLr, MatrixView, chunks, shape_matrices
from triskele.optim.placement import Placement, Shape, interleave, run_elements
from triskele.optim.schedule import PowerSchedule, Schedule
from triskele.optim.sharding import local_grad, local_part, placements
from triskele.optim.spectral import Method, Scale, spectral_power

# Elements shaped at once, per owner: bounds the temporaries (about five times this) while small
# matrices still share their products.
CHUNK_ELEMENTS = {"cpu": 1 << 22, "cuda": 1 << 24}

LR = 0.02
ADAMW_LR = 3e-3


class DynMuon(Optimizer):
    """Spectral-power momentum for matrices, AdamW for everything else.

    Parameters
    ----------
    params
        Matrices, named matrices, or parameter groups. A group with ``algorithm="adamw"`` steps by
        AdamW; any other holds tensors of two or more dimensions. :meth:`from_model` makes the
        groups for a whole model.
    total_steps
        T, the number of optimizer steps the schedule of p spans.
    lr
        Learning rate of the matrices. With the default ``scale`` the size of an update is Muon's
        at every p, so that a rate tuned for ``torch.optim.Muon`` carries over.
    weight_decay
        Decoupled decay λ, applied as lr·λ before any adjustment of lr.
    cautious
        Decay only entries whose update also shrinks them (arXiv 2411.16085).
    momentum, nesterov
        μ, and whether to look ahead with it.
    schedule
        p as a function of the training fraction: a :class:`PowerSchedule` or any callable from
        [0, 1] to [−0.5, 1]. A callable is not part of ``state_dict``: pass it again on resuming.
    method, scale, dtype
        How UΣᵖVᵀ is computed, its size, and the precision of the products: see
        :func:`spectral_power`.
    adjust_lr
        How lr depends on the shape of a matrix: ``"original"`` or ``"match_rms_adamw"`` as in
        ``torch.optim.Muon``, ``"spectral"``, ``"none"``.
    adamw_lr, adamw_betas, adamw_eps, adamw_weight_decay
        Defaults of the groups with ``algorithm="adamw"``.
    momentum_dtype
        Precision of the momentum; the gradient's own by default.
    capturable
        Keep step counts on the device, so that a step can be captured in a CUDA graph.
    process_group
        Ranks that hold identical replicas and share the shaping among them (DDP). Sharded
        parameters (FSDP2) need none: their mesh is read off them.

    Raises
    ------
    ValueError
        For values outside their range, or a matrix group holding a vector.

    Examples
    --------
    >>> optimizer = DynMuon.from_model(model, total_steps=10_000)
    >>> loss.backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        total_steps: int,
        lr: float | Tensor = LR,
        weight_decay: float = 0.1,
        cautious: bool = False,
        momentum: float = 0.95,
        nesterov: bool = True,
        schedule: Schedule = PowerSchedule(),  # noqa: B008 - an immutable record
        method: Method = "chain",
        scale: Scale = "rms",
        dtype: torch.dtype | None = None,
        adjust_lr: AdjustLr = "original",
        adamw_lr: float | Tensor = ADAMW_LR,
        adamw_betas: tuple[float, float] = (0.9, 0.95),
        adamw_eps: float = 1e-8,
        adamw_weight_decay: float = 0.0,
        momentum_dtype: torch.dtype | None = None,
        capturable: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        self._process_group = process_group
        self._matrix_defaults: dict[str, Any] = {
            "lr": lr,
            "weight_decay": weight_decay,
            "cautious": cautious,
            "momentum": momentum,
            "nesterov": nesterov,
            "schedule": schedule,
            "total_steps": total_steps,
            "method": method,
            "scale": scale,
            "dtype": dtype,
            "adjust_lr": adjust_lr,
            "momentum_dtype": momentum_dtype,
            "flatten": False,
            "transposed": False,
            "split": (),
        }
        self._adamw_defaults: dict[str, Any] = {
            "lr": adamw_lr,
            "betas": adamw_betas,
            "eps": adamw_eps,
            "weight_decay": adamw_weight_decay,
        }
        super().__init__(params, {"algorithm": "dynmuon", "capturable": capturable})

    @classmethod
    def from_model(
        cls,
        model: nn.Module,
        *,
        total_steps: int,
        overrides: Mapping[str, Algorithm] | None = None,
        lr: float | Tensor = LR,
        weight_decay: float = 0.1,
        cautious: bool = False,
        momentum: float = 0.95,
        nesterov: bool = True,
        schedule: Schedule = PowerSchedule(),  # noqa: B008 - an immutable record
        method: Method = "chain",
        scale: Scale = "rms",
        dtype: torch.dtype | None = None,
        adjust_lr: AdjustLr = "original",
        adamw_lr: float | Tensor = ADAMW_LR,
        adamw_betas: tuple[float, float] = (0.9, 0.95),
        adamw_eps: float = 1e-8,
        adamw_weight_decay: float = 0.0,
        momentum_dtype: torch.dtype | None = None,
        capturable: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> Self:
        """Sort the parameters of ``model`` by role and return an optimizer over all of them.

        Hidden matrices (fused projections cut apart, experts as a batch, convolutions flattened)
        are shaped; embeddings, heads, norms, biases and scalars step by AdamW. ``overrides`` maps
        name patterns to ``"dynmuon"`` or ``"adamw"``; :meth:`describe` tells what went where. A
        model wrapped in DistributedDataParallel brings its own ``process_group``.
        """
        if process_group is None and isinstance(model, DistributedDataParallel):
            process_group = model.process_group
        return cls(
            parameter_groups(assign_parameters(model, overrides=overrides)),
            total_steps=total_steps,
            lr=lr,
            weight_decay=weight_decay,
            cautious=cautious,
            momentum=momentum,
            nesterov=nesterov,
            schedule=schedule,
            method=method,
            scale=scale,
            dtype=dtype,
            adjust_lr=adjust_lr,
            adamw_lr=adamw_lr,
            adamw_betas=adamw_betas,
            adamw_eps=adamw_eps,
            adamw_weight_decay=adamw_weight_decay,
            momentum_dtype=momentum_dtype,
            capturable=capturable,
            process_group=process_group,
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its state is laid out at once, so that checkpoints have every key."""
        group = dict(param_group)
        algorithm = group.setdefault("algorithm", "dynmuon")
        if algorithm not in ("dynmuon", "adamw"):
            raise ValueError(f"algorithm must be 'dynmuon' or 'adamw', got {algorithm!r}")
        matrices = algorithm == "dynmuon"
        for key, value in (self._matrix_defaults if matrices else self._adamw_defaults).items():
            group.setdefault(key, value)
        _check_group(group)
        super().add_param_group(group)
        group = self.param_groups[-1]
        try:
            if matrices:
                for parameter in group["params"]:
                    _view(group).of(parameter)
        except ValueError:
            self.param_groups.pop()
            raise
        if matrices:
            start = torch.zeros((), device=group["params"][0].device) if group["capturable"] else 0
            group.setdefault("step", start)
            group.setdefault("p", _exponent(group))
        for parameter in group["params"]:
            if parameter.requires_grad:
                self._init_state(parameter, group)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; parameters without a gradient stay as they are.

        Parameters
        ----------
        closure
            Re-evaluates the model and returns the loss, which is then returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for parameter in parameters:
                if parameter not in self.state:
                    self._init_state(parameter, group)
            if group["algorithm"] == "adamw":
                adamw_step(
                    parameters,
                    [self.state[parameter] for parameter in parameters],
                    lr=group["lr"],
                    betas=group["betas"],
                    eps=group["eps"],
                    weight_decay=group["weight_decay"],
                    capturable=group["capturable"],
                )
            else:
                group["p"] = _exponent(group)
                self._step_matrices(group, parameters)
                group["step"] += 1
        return loss

    def describe(self) -> str:
        """Return one line per parameter: algorithm, shape, role of its group, name."""
        lines = []
        for group in self.param_groups:
            names = group.get("param_names", [""] * len(group["params"]))
            for name, parameter in zip(names, group["params"], strict=True):
                shape = "×".join(str(size) for size in parameter.shape) or "scalar"
                role = group.get("role", "")
                lines.append(f"{group['algorithm']:<8} {shape:<16} {role:<24} {name}".rstrip())
        return "\n".join(lines)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole truth as plain data; a schedule that is a bare callable is left out."""
        state = super().state_dict()
        for group in state["param_groups"]:
            if "schedule" in group:
                schedule = group["schedule"]
                known = isinstance(schedule, PowerSchedule)
                group["schedule"] = schedule.to_dict() if known else None
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; momenta keep the precision they had."""
        current = [group.get("schedule") for group in self.param_groups]
        super().load_state_dict(state_dict)
        saved = state_dict["state"]
        indices = (i for group in state_dict["param_groups"] for i in group["params"])
        parameters = (p for group in self.param_groups for p in group["params"])
        for index, parameter in zip(indices, parameters, strict=True):
            for key, value in saved.get(index, {}).items():
                if isinstance(value, Tensor) and self.state[parameter][key].dtype != value.dtype:
                    # torch casts every state to its parameter's precision.
                    self.state[parameter][key] = value.to(parameter.device, copy=True)
        for group, schedule in zip(self.param_groups, current, strict=True):
            if "schedule" in group:
                plain = group["schedule"]
                group["schedule"] = schedule if plain is None else PowerSchedule(**plain)

    def _init_state(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if group["algorithm"] == "adamw":
            init_adamw_state(parameter, state, capturable=group["capturable"])
        else:
            state["momentum_buffer"] = torch.zeros_like(parameter, dtype=group["momentum_dtype"])

    def _step_matrices(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Step in bounded runs, whose messages travel while others are being shaped."""
        shape: Shape = partial(
            shape_matrices,
            view=_view(group),
            adjust_lr=group["adjust_lr"],
            shaper=partial(
                spectral_power,
                p=group["p"],
                method=group["method"],
                scale=group["scale"],
                dtype=group["dtype"],
            ),
        )
        stacked = not group["flatten"]
        for placement, members in placements(parameters, self._process_group):
            room = run_elements(
                members,
                n_owners=placement.n_owners,
                max_elements=CHUNK_ELEMENTS.get(members[0].device.type, 1 << 22),
                stacked=stacked,
            )
            batches = ([members[i] for i in run] for run in chunks(members, max_elements=room))
            interleave(
                self._step_batch(group, batch, placement, shape, stacked=stacked)
                for batch in batches
            )

    def _step_batch(
        self,
        group: dict[str, Any],
        batch: list[Tensor],
        placement: Placement,
        shape: Shape,
        *,
        stacked: bool,
    ) -> Generator[None]:
        """Step one run of matrices, yielding while its messages travel."""
        updates = self._updates(group, batch)
        steps = yield from placement.run(updates, batch, shape, stacked=stacked)
        _apply(group, batch, steps)

    def _updates(self, group: dict[str, Any], parameters: list[Tensor]) -> list[Tensor]:
        """Advance the momenta of this rank's parts and return what is to be shaped."""
        momentum = group["momentum"]
        buffers = [local_part(self.state[parameter]["momentum_buffer"]) for parameter in parameters]
        grads = [
            local_grad(parameter).to(buffer.dtype)
            for parameter, buffer in zip(parameters, buffers, strict=True)
        ]
        torch._foreach_lerp_(buffers, grads, 1.0 - momentum)
        if group["nesterov"]:
            updates = list(torch._foreach_lerp(grads, buffers, momentum))
        else:
            updates = [buffer.clone() for buffer in buffers]
        if group["scale"] == "reference":
            # The published scale is a power of the norm of the summed momentum.
            torch._foreach_div_(updates, 1.0 - momentum)
        return updates


def _check_group(group: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` on a hyperparameter outside its range."""
    lr = group["lr"]
    if isinstance(lr, Tensor):
        if lr.numel() != 1:
            raise ValueError(f"lr as a tensor must have one element, got {lr.numel()}")
    elif not lr >= 0.0:
        raise ValueError(f"lr must be ≥ 0, got {lr}")
    if not group["weight_decay"] >= 0.0:
        raise ValueError(f"weight_decay must be ≥ 0, got {group['weight_decay']}")
    if group["algorithm"] == "adamw":
        if not all(0.0 <= beta < 1.0 for beta in group["betas"]):
            raise ValueError(f"betas must lie in [0, 1), got {group['betas']}")
        return
    if not 0.0 <= group["momentum"] < 1.0:
        raise ValueError(f"momentum must lie in [0, 1), got {group['momentum']}")
    if not group["total_steps"] >= 1:
        raise ValueError(f"total_steps must be ≥ 1, got {group['total_steps']}")
    if not callable(group["schedule"]):
        raise ValueError(f"schedule must be a callable of q, got {group['schedule']!r}")
    for name, choices in (("method", Method), ("scale", Scale), ("adjust_lr", AdjustLr)):
        if group[name] not in get_args(choices):
            raise ValueError(f"{name} must be one of {get_args(choices)}, got {group[name]!r}")


def _view(group: Mapping[str, Any]) -> MatrixView:
    return MatrixView(
        flatten=group["flatten"], transposed=group["transposed"], split=tuple(group["split"])
    )


def _exponent(group: Mapping[str, Any]) -> float | Tensor:
    """Return p at the group's own step, a tensor if that is one."""
    p: float | Tensor = group["schedule"](group["step"] / group["total_steps"])
    return p


def _apply(group: Mapping[str, Any], parameters: list[Tensor], steps: list[Tensor]) -> None:
    """Decay the parameters and take the step, in place on this rank's parts."""
    lr, decay = group["lr"], group["weight_decay"]
    own = [local_part(parameter) for parameter in parameters]
    if decay != 0.0:
        if group["cautious"]:
            for weight, step in zip(own, steps, strict=True):
                weight.sub_(weight * (weight * step > 0) * (lr * decay))
        else:
            torch._foreach_mul_(own, 1.0 - lr * decay)
    if isinstance(lr, Tensor):
        torch._foreach_sub_(own, [step * lr for step in steps])
    else:
        torch._foreach_add_(own, steps, alpha=-lr)
