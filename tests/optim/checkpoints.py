"""What the ranks of the checkpoint tests do: save, load into another world, go on."""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from tests.optim.scenarios import (
    STEPS,
    Net,
    net,
    optimizer_of,
    own_share,
    replicated,
    sharded,
    train,
    whole,
)
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)

from triskele.optim.schedule import PowerSchedule

# Whatever a checkpoint must restore, set otherwise.
OTHER: dict[str, Any] = {"total_steps": 1, "lr": 1.0, "schedule": PowerSchedule()}
MOMENTUM = {"momentum_dtype": torch.float64, "method": "svd"}


def wrapped(model: Net, how: str | None) -> nn.Module:
    if how is None:
        return model
    return sharded(model) if how == "fsdp" else replicated(model)


def train_and_save(folder: str) -> None:
    """Train shards and replicas; leave checkpoints by parameter name and of bare state dicts."""
    for how in ("fsdp", "ddp"):
        model = wrapped(net(), how)
        optimizer = optimizer_of(model, **MOMENTUM)
        train(model, optimizer, share=own_share())
        weights, state = get_state_dict(model, optimizer)
        dcp.save({"model": weights, "optim": state}, checkpoint_id=f"{folder}/{how}/named")
        dcp.save({"optim": optimizer.state_dict()}, checkpoint_id=f"{folder}/{how}/bare")


def load_and_train(folder: Path | str, kind: str, how: str | None) -> dict[str, Any]:
    """Restore into an optimizer of other settings, go on, and return where that led."""
    torch.manual_seed(99)
    model = wrapped(Net(), how)
    optimizer = optimizer_of(model, **OTHER, **MOMENTUM)
    weights, state = get_state_dict(model, optimizer)
    stored = {"model": weights, "optim": state}
    dcp.load(stored, checkpoint_id=f"{folder}/named")
    set_state_dict(
        model, optimizer, model_state_dict=stored["model"], optim_state_dict=stored["optim"]
    )
    if kind == "bare":
        optimizer = optimizer_of(model, **OTHER, **MOMENTUM)
        bare = {"optim": optimizer.state_dict()}
        dcp.load(bare, checkpoint_id=f"{folder}/bare")
        optimizer.load_state_dict(bare["optim"])
    group = next(g for g in optimizer.param_groups if g["role"].startswith("fused"))
    restored = {key: group[key] for key in ("step", "p", "total_steps", "lr", "schedule", "split")}
    states = optimizer.state.values()
    momenta = {state["momentum_buffer"].dtype for state in states if "momentum_buffer" in state}
    share = own_share() if dist.is_initialized() else slice(None)
    train(model, optimizer, first=STEPS, share=share)
    return {"parameters": whole(model), "group": restored, "momenta": momenta}


def load_on_four(folder: str) -> dict[str, Any]:
    return {kind: load_and_train(f"{folder}/fsdp", kind, "fsdp") for kind in ("named", "bare")}


def load_on_two(folder: str) -> dict[str, Any]:
    """Cross over from replicas to shards and back, and hand a whole state out."""
    return {
        "shards": load_and_train(f"{folder}/ddp", "named", "fsdp"),
        "replicas": load_and_train(f"{folder}/fsdp", "named", "ddp"),
        "handed out": _hand_out(),
    }


def _hand_out() -> dict[str, Tensor]:
    """Gather the whole state on the first rank, give it to a fresh model from there, go on."""
    model = sharded(net())
    optimizer = optimizer_of(model)
    train(model, optimizer, share=own_share())
    gathered = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, state = get_state_dict(model, optimizer, options=gathered)
    model = sharded(Net())
    optimizer = optimizer_of(model, **OTHER)
    from_first = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(model, weights, options=from_first)
    set_optimizer_state_dict(model, optimizer, state, options=from_first)
    train(model, optimizer, first=STEPS, share=own_share())
    return whole(model)
