"""A run in memory: model, optimizer and data, with the three things that are done to them.

``train`` takes one optimizer step, ``validate`` measures the loss on the fixed held-out windows,
``state`` and ``restore`` are the whole truth for a snapshot. The run knows neither files nor
clocks, nor when any of this is to happen.

Shape suffixes: B sequences, T tokens.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from triskele.model import Transformer
from triskele.train.batches import Batches
from triskele.train.lr import lr_at_step
from triskele.train.optimizers import make_optimizer
from triskele.train.plan import Plan, changes
from triskele.train.ranks import Ranks
from triskele.train.tokens import Dataset


class TrainingDiverged(ValueError):
    """The loss, a gradient or a weight is no longer a finite number."""


class Run:
    """What changes while training, and nothing else.

    Parameters
    ----------
    plan
        What to compute.
    dataset
        What to compute it on.
    device
        Where.
    validation_tokens
        How much of the validation set to use.
    ranks
        This process's place among those that share the run.
    """

    def __init__(
        self,
        plan: Plan,
        dataset: Dataset,
        *,
        device: torch.device,
        validation_tokens: int,
        ranks: Ranks,
    ) -> None:
        self.plan, self.device, self.ranks = plan, device, ranks
        generator = torch.Generator().manual_seed(plan.seed)
        self.model = Transformer(plan.model, generator=generator).to(device)
        self._forward = self._wrap(self.model)
        self.optimizer = make_optimizer(self._forward, plan)
        vocab_size = plan.model.vocab_size
        self._batches = Batches(
            dataset.train,
            context=plan.context,
            size=plan.batch,
            seed=plan.seed,
            vocab_size=vocab_size,
        )
        self._validation = Batches(
            dataset.validation, context=plan.context, size=1, vocab_size=vocab_size
        )
        n_held_out = self._validation.n_windows
        n_used = min(n_held_out, max(ranks.world_size, validation_tokens // plan.context))
        self._validation_windows = np.linspace(0, n_held_out - 1, n_used).astype(np.int64)

    def train(self, step: int) -> tuple[float, float]:
        """Take the step numbered ``step`` (from 0); return its loss and gradient norm.

        Raises
        ------
        TrainingDiverged
            If loss or gradients are not finite; the weights are left as they were.
        """
        plan = self.plan
        rows_BT = self._batches.at(step, rows=self.ranks.rows(plan.batch))
        parts = np.split(rows_BT, len(rows_BT) // plan.micro)
        self.optimizer.zero_grad()
        loss = 0.0
        for number, part_BT in enumerate(parts):
            with self._sync(last=number == len(parts) - 1), self._autocast():
                part_loss = self._loss(self._forward, part_BT) / len(parts)
                part_loss.backward()  # type: ignore[no-untyped-call]
            loss += float(part_loss.detach())
        loss = self.ranks.mean([loss], self.device)[0]
        parameters = [x for x in self.model.parameters() if x.grad is not None]
        total_norm = nn.utils.get_total_norm([x.grad for x in parameters if x.grad is not None])
        norm = float(total_norm)
        for name, value in (("loss", loss), ("gradient", norm)):
            if not math.isfinite(value):
                raise TrainingDiverged(
                    f"the {name} became {value} at step {step + 1} with a learning rate of "
                    f"{self.optimizer.lr:.2g}; try a lower --lr, a longer --schedule.warmup "
                    "or --tune.clip 1"
                )
        if plan.clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, plan.clip, total_norm)
        self.optimizer.set_lr(lr_at_step(step, plan.total_steps, plan.schedule))
        self.optimizer.step()
        return loss, norm

    @torch.no_grad()
    def validate(self) -> float:
        """Return the mean loss over the validation windows, in nats per token."""
        self.model.eval()
        mine = self._validation_windows[self.ranks.rank :: self.ranks.world_size]
        total = 0.0
        for begin in range(0, len(mine), self.plan.micro):
            chosen = mine[begin : begin + self.plan.micro]
            windows_BT = np.stack([self._validation.window(int(w)) for w in chosen])
            with self._autocast():
                total += float(self._loss(self.model, windows_BT)) * len(chosen)
        self.model.train()
        total, count = self.ranks.mean([total, float(len(mine))], self.device)
        return total / count

    def state(self) -> dict[str, Any]:
        """Return everything that is needed to continue.

        Raises
        ------
        TrainingDiverged
            If a weight is not finite: such a state is not worth keeping.
        """
        for name, parameter in self.model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise TrainingDiverged(
                    f"{name} holds numbers that are not finite; no snapshot of it was taken; "
                    "try a lower --lr"
                )
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        return {
            "plan": self.plan.to_dict(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": random,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what ``state`` returned; its tensors may be taken over, not copied.

        Raises
        ------
        ValueError
            If it was saved under another plan.
        """
        found = changes(state["plan"], self.plan.to_dict())
        if found:
            raise ValueError(
                f"the run in --out cannot be resumed with other settings: {'; '.join(found)}"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"]["cpu"].cpu())
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random"]["cuda"].cpu(), self.device)

    def _wrap(self, model: nn.Module) -> nn.Module:
        if self.plan.compile:
            model = torch.compile(model)  # type: ignore[assignment]
        if not self.ranks.is_alone:
            model = DistributedDataParallel(
                model, device_ids=None if self.device.type == "cpu" else [self.device]
            )
        return model

    def _loss(self, model: nn.Module, windows_BT: NDArray[np.int64]) -> Tensor:
        tokens_BT = torch.from_numpy(windows_BT).to(self.device, non_blocking=True)
        loss: Tensor = model(tokens_BT[:, :-1], tokens_BT[:, 1:])
        return loss

    def _autocast(self) -> AbstractContextManager[object]:
        if self.plan.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _sync(self, *, last: bool) -> AbstractContextManager[object]:
        """Exchange gradients only with the last part of a batch."""
        if last or not isinstance(self._forward, DistributedDataParallel):
            return nullcontext()
        return self._forward.no_sync()
