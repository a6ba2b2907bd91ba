"""Next-token loss without the table of logits.

The logits of a batch, one row of the vocabulary per token, are often the largest tensor of a
training step, and standard autograd holds them several times over. Here tokens pass in slices:
each slice's logits are turned at once into its loss and its gradients,

    loss = mean(logsumexp(z) − z[target]),   dz = (softmax(z) − onehot(target)) / n,   z = x Wᵀ,

and are then forgotten, so that memory is one slice, not the batch (Wijmans et al., *Cut your
losses*, 2025, argue the same for a fused kernel). The arithmetic is the same as without slices;
weight gradients are summed over slices in float32.

It does not know where the vectors came from. It supports one derivative, not two.

Shape suffixes: N tokens, S tokens of a slice, D model width, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CPU_SLICE = 2**21
ACCELERATOR_SLICE = 2**27


def next_token_loss(
    x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, *, slice_size: int | None = None
) -> Tensor:
    """Return the mean cross-entropy of a linear head, in nats.

    Parameters
    ----------
    x_ND : Tensor
        What the head reads, one row per token.
    weight_VD : Tensor
        The head.
    targets_N : Tensor
        The right ids, int64.
    slice_size : int, optional
        How many logits may exist at once; a size that suits the device when absent.

    Returns
    -------
    Tensor
        A float32 scalar. Under autocast products are made in the autocast precision.

    Raises
    ------
    ValueError
        When the numbers of rows and of targets differ, or there are none.
    """
    if targets_N.shape != x_ND.shape[:1] or not len(targets_N):
        raise ValueError(
            f"expected one target for each row and at least one, "
            f"got {tuple(targets_N.shape)} for {tuple(x_ND.shape)}"
        )
    if slice_size is None:
        slice_size = CPU_SLICE if x_ND.device.type == "cpu" else ACCELERATOR_SLICE
    n_rows = max(1, slice_size // weight_VD.shape[0])
    dtype = x_ND.dtype
    if torch.is_autocast_enabled(x_ND.device.type):
        dtype = torch.get_autocast_dtype(x_ND.device.type)
    loss: Tensor = _SlicedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        x_ND, weight_VD, targets_N, n_rows, dtype
    )
    return loss


class _SlicedCrossEntropy(torch.autograd.Function):
    """Makes the gradients together with the loss, when anybody will want them."""

    @staticmethod
    def forward(
        ctx: Any,
        x_ND: Tensor,
        weight_VD: Tensor,
        targets_N: Tensor,
        n_rows: int,
        dtype: torch.dtype,
    ) -> Tensor:
        n_tokens = x_ND.shape[0]
        training = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        w_VD = weight_VD.to(dtype)
        grad_x_ND = torch.empty_like(x_ND) if training else None
        grad_w_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if training else None
        loss = torch.zeros((), dtype=torch.float32, device=x_ND.device)
        for start in range(0, n_tokens, n_rows):
            rows = slice(start, start + n_rows)
            x_SD = x_ND[rows].to(dtype)
            targets_S1 = targets_N[rows, None]
            logp_SV = torch.log_softmax(x_SD @ w_VD.T, dim=-1, dtype=torch.float32)
            loss -= logp_SV.gather(1, targets_S1).sum()
            if grad_x_ND is None or grad_w_VD is None:
                continue
            error_SV = logp_SV.exp_()
            error_SV.scatter_add_(1, targets_S1, -torch.ones_like(targets_S1, dtype=torch.float32))
            error_SV = error_SV.to(dtype)
            grad_x_ND[rows] = error_SV @ w_VD
            if dtype == torch.float32:
                grad_w_VD.addmm_(error_SV.T, x_SD)
            else:
                grad_w_VD += error_SV.T @ x_SD
        if training:
            ctx.save_for_backward(grad_x_ND, grad_w_VD)
            ctx.n_tokens, ctx.weight_dtype = n_tokens, weight_VD.dtype
        return loss / n_tokens

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        grad_x_ND, grad_w_VD = ctx.saved_tensors
        scale = grad_loss / ctx.n_tokens
        return (
            (grad_x_ND * scale).to(grad_x_ND.dtype),
            (grad_w_VD * scale).to(ctx.weight_dtype),
            None,
            None,
            None,
        )
