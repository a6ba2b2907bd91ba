"""DynMuon: momentum M = UΣVᵀ is stepped along UΣᵖVᵀ, with p falling over training.

The method is DynMuon (arXiv 2605.17109) on Muon (Jordan et al., 2024); ``matrix_step`` has the
algebra. Whatever is not a matrix steps by AdamW or one-sided SOAP in the same optimizer. The
optimizer does not know how UΣᵖVᵀ is computed (``spectral``), which parameter is a matrix
(``roles``), nor where matrices live in a distributed run (``placement``).
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.nn.parallel import DistributedDataParallel
from torch.optim.optimizer import Optimizer, ParamsT

from triskele.optim.eigenbasis import SOAP_DEFAULTS, init_soap_state, soap_step
from triskele.optim.elementwise import adamw_step, init_adamw_state
from triskele.optim.group_record import plain_group, restore_group
from triskele.optim.groups import describe_groups, parameter_groups
from triskele.optim.hyperparameters import check_group
from triskele.optim.matrices import AdjustLr
from triskele.optim.matrix_step import exponent, init_matrix_state, matrix_step, view_of
from triskele.optim.roles import Algorithm, assign_parameters
from triskele.optim.schedule import PowerSchedule, Schedule
from triskele.optim.spectral import Method, Scale


class DynMuon(Optimizer):
    """Spectral-power momentum for matrices, AdamW for everything else.

    Parameters
    ----------
    params
        Matrices, named matrices, or parameter groups. A group with ``algorithm="adamw"`` steps by
        AdamW, one with ``algorithm="soap"`` by one-sided SOAP (for tall matrices such as an output
        head); any other holds tensors of two or more dimensions. :meth:`from_model` makes the
        groups for a whole model.
    total_steps
        T, the number of optimizer steps the schedule of p spans.
    lr
        Learning rate of the matrices. With the default ``scale`` the size of an update is Muon's
        at every p, so that a rate tuned for ``torch.optim.Muon`` carries over.
    weight_decay
        Decoupled decay λ, applied as lr·λ before any adjustment of lr.
    cautious
        Decay only entries that the update shrinks too (arXiv 2411.16085).
    update_floor
        Smallest ‖update‖ / ‖weight‖ of a tensor, before lr: shorter updates are lengthened. Where
        it binds, only the shape of an update matters and no scalar factor does.
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
        Defaults of the groups with ``algorithm="adamw"``; SOAP's share them, but for eps.
    momentum_dtype
        Precision of the momentum; the parameter's own by default.
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
        lr: float | Tensor = 0.02,
        weight_decay: float = 0.1,
        cautious: bool = False,
        update_floor: float = 0.0,
        momentum: float = 0.95,
        nesterov: bool = True,
        schedule: Schedule = PowerSchedule(),  # noqa: B008 - an immutable record
        method: Method = "chain",
        scale: Scale = "rms",
        dtype: torch.dtype | None = None,
        adjust_lr: AdjustLr = "original",
        adamw_lr: float | Tensor = 0.01,
        adamw_betas: tuple[float, float] = (0.9, 0.95),
        adamw_eps: float = 1e-8,
        adamw_weight_decay: float = 0.0,
        momentum_dtype: torch.dtype | None = None,
        capturable: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        self._process_group = process_group
        matrices = {
            "lr": lr,
            "weight_decay": weight_decay,
            "cautious": cautious,
            "update_floor": update_floor,
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
            "gains": (),
        }
        adamw = {
            "lr": adamw_lr,
            "betas": adamw_betas,
            "weight_decay": adamw_weight_decay,
        }
        self._group_defaults: dict[str, dict[str, Any]] = {
            "dynmuon": matrices,
            "adamw": {**adamw, "eps": adamw_eps},
            "soap": {**adamw, **SOAP_DEFAULTS},
        }
        for defaults in self._group_defaults.values():
            defaults["capturable"] = capturable
        super().__init__(params, {"lr": lr})

    @classmethod
    def from_model(
        cls,
        model: nn.Module,
        *,
        total_steps: int,
        head: Algorithm = "soap",
        overrides: Mapping[str, Algorithm] | None = None,
        lr: float | Tensor = 0.02,
        weight_decay: float = 0.0,
        cautious: bool = False,
        update_floor: float = 0.0,
        momentum: float = 0.88,
        nesterov: bool = True,
        schedule: Schedule = PowerSchedule(),  # noqa: B008 - an immutable record
        method: Method = "chain",
        scale: Scale = "rms",
        dtype: torch.dtype | None = None,
        adjust_lr: AdjustLr = "original",
        embedding_lr: float | Tensor = 0.07,
        head_lr: float | Tensor = 0.03,
        adamw_lr: float | Tensor = 0.012,
        query_key_gain: float = 2.0,
        feed_forward_gain: float = 1.7,
        split_heads: bool = True,
        adamw_betas: tuple[float, float] = (0.7, 0.98),
        adamw_eps: float = 1e-8,
        adamw_weight_decay: float = 0.0,
        momentum_dtype: torch.dtype | None = None,
        capturable: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> Self:
        """Sort the parameters of ``model`` by role and return an optimizer over all of them.

        Hidden matrices (fused projections cut apart, experts as a batch, convolutions flattened)
        are shaped; an output head of its own steps by ``head``; embeddings, norms, biases and
        scalars by AdamW. :meth:`describe` tells what went where. A model wrapped in
        DistributedDataParallel brings its own ``process_group``. The defaults are the recipe of
        the claim ``steps_to_target``.

        Parameters
        ----------
        model
            Any module.
        head
            What steps the output head: ``"soap"`` or ``"adamw"``.
        overrides
            Name patterns to ``"dynmuon"``, ``"adamw"`` or ``"soap"``; first match wins.
        embedding_lr, head_lr
            Learning rates of embeddings and of the head (also if it is tied to an embedding).
        query_key_gain, feed_forward_gain
            What the updates of query and key projections, and of feed-forward matrices and
            experts, are multiplied by.
        split_heads
            Shape queries and keys head by head, where the model tells how wide a head is.

        The other parameters are those of the class. Raises ``ValueError`` if no parameter is a
        hidden matrix.
        """
        if process_group is None and isinstance(model, DistributedDataParallel):
            process_group = model.process_group
        assignments = assign_parameters(
            model, head=head, split_heads=split_heads, overrides=overrides
        )
        groups = parameter_groups(
            assignments, query_key_gain=query_key_gain, feed_forward_gain=feed_forward_gain
        )
        rates = {"embedding": embedding_lr, "tied embedding": head_lr, "head": head_lr}
        for group in groups:
            if group["algorithm"] != "dynmuon" and group["role"] in rates:
                group["lr"] = rates[group["role"]]
        return cls(
            groups,
            total_steps=total_steps,
            lr=lr,
            weight_decay=weight_decay,
            cautious=cautious,
            update_floor=update_floor,
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
        if algorithm not in self._group_defaults:
            known = tuple(self._group_defaults)
            raise ValueError(f"algorithm must be one of {known}, got {algorithm!r}")
        for key, value in self._group_defaults[algorithm].items():
            group.setdefault(key, value)
        check_group(group)
        super().add_param_group(group)
        group = self.param_groups[-1]
        try:
            for parameter in group["params"]:
                if algorithm == "dynmuon":
                    # On no device, since a sharded parameter would be gathered.
                    view_of(group).of(torch.empty(parameter.shape, device="meta"))
                if parameter.requires_grad:
                    self._init_state(parameter, group)
        except ValueError:
            for parameter in self.param_groups.pop()["params"]:
                self.state.pop(parameter, None)
            raise
        if algorithm == "dynmuon":
            start = torch.zeros((), device=group["params"][0].device) if group["capturable"] else 0
            group.setdefault("step", start)
            group.setdefault("p", exponent(group))

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
            states = [self.state[parameter] for parameter in parameters]
            if group["algorithm"] == "dynmuon":
                group["p"] = exponent(group)
                matrix_step(group, parameters, states, process_group=self._process_group)
                group["step"] += 1
            elif group["algorithm"] == "adamw":
                adamw_step(
                    parameters,
                    states,
                    lr=group["lr"],
                    betas=group["betas"],
                    eps=group["eps"],
                    weight_decay=group["weight_decay"],
                    capturable=group["capturable"],
                )
            else:
                soap_step(
                    parameters,
                    states,
                    lr=group["lr"],
                    betas=group["betas"],
                    covariance_beta=group["covariance_beta"],
                    refresh_every=group["refresh_every"],
                    extra_power=group["extra_power"],
                    weight_decay=group["weight_decay"],
                )
        return loss

    def describe(self) -> str:
        """Return one line per parameter: algorithm, shape, role of its group, name."""
        return describe_groups(self.param_groups)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole truth as plain data; a schedule that is a bare callable is left out."""
        state = super().state_dict()
        state["param_groups"] = [plain_group(group) for group in state["param_groups"]]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; momenta keep the precision they had."""
        current = [dict(group) for group in self.param_groups]
        super().load_state_dict(state_dict)
        saved = state_dict["state"]
        indices = (i for group in state_dict["param_groups"] for i in group["params"])
        parameters = (p for group in self.param_groups for p in group["params"])
        for index, parameter in zip(indices, parameters, strict=True):
            for key, value in saved.get(index, {}).items():
                if isinstance(value, Tensor) and self.state[parameter][key].dtype != value.dtype:
                    # torch casts every state to its parameter's precision.
                    self.state[parameter][key] = value.to(parameter.device, copy=True)
        for group, before in zip(self.param_groups, current, strict=True):
            restore_group(group, before)

    def _init_state(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if group["algorithm"] == "dynmuon":
            init_matrix_state(parameter, state, momentum_dtype=group["momentum_dtype"])
        elif group["algorithm"] == "adamw":
            init_adamw_state(parameter, state, capturable=group["capturable"])
        else:
            init_soap_state(parameter, state)
