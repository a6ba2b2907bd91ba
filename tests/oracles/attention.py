"""Causal attention one query at a time, as in the paper."""

import torch
from torch import Tensor


def slow_causal_attention(q_BHTC: Tensor, k_BKSC: Tensor, v_BKSC: Tensor) -> Tensor:
    """softmax(qKᵀ/√C) V for each query, over the keys at or before its position."""
    n_queries, n_keys = q_BHTC.shape[2], k_BKSC.shape[2]
    group = q_BHTC.shape[1] // k_BKSC.shape[1]
    out = torch.empty_like(q_BHTC)
    for batch in range(q_BHTC.shape[0]):
        for head in range(q_BHTC.shape[1]):
            keys, values = k_BKSC[batch, head // group], v_BKSC[batch, head // group]
            for t in range(n_queries):
                end = n_keys - n_queries + t + 1
                scores = keys[:end] @ q_BHTC[batch, head, t] / q_BHTC.shape[3] ** 0.5
                out[batch, head, t] = scores.softmax(0) @ values[:end]
    return out
