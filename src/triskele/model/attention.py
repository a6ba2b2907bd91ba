"""Causal self-attention with grouped queries, and the seam through which keys and values are kept.

Attention(Q, K, V) = softmax(QKᵀ/√C + causal mask) V (Vaswani et al., 2017) with several query heads
to each key head (Ainslie et al., *GQA*, 2023), on queries and keys turned by rotary embedding,
and normalised head by head before that where the configuration says so (Henry et al., 2020). The
kernel is torch's ``scaled_dot_product_attention``.

Without a store the layer sees one batch of whole sequences. With one, the store holds what earlier
calls left and attends on the layer's behalf, because only it knows how the past is laid out. The
layer does not know how positions were chosen.

Shape suffixes: B batch, T tokens, S tokens held, D model width, H query heads, K key heads,
C channels of a head.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triskele.model.config import ModelConfig
from triskele.model.norm import RMSNorm
from triskele.model.rotary import Rotation, rotate


class KVStore(Protocol):
    """Keys and values of the tokens seen so far, one forward pass after another."""

    def positions(self, n_tokens: int) -> Tensor:
        """Positions of the next `n_tokens` tokens: (T,) when sequences share them, else (B, T)."""
        ...

    def attend(self, layer: int, q_BHTC: Tensor, k_BKTC: Tensor, v_BKTC: Tensor) -> Tensor:
        """Keep a layer's new keys and values; return (B, H, T, C), attention to past and new."""
        ...

    def advance(self, n_tokens: int) -> None:
        """Close a forward pass: the tokens kept by `attend` become the past."""
        ...


def causal_attention(q_BHTC: Tensor, k_BKSC: Tensor, v_BKSC: Tensor) -> Tensor:
    """Attend from the last T of S positions to everything at or before each of them.

    Parameters
    ----------
    q_BHTC, k_BKSC, v_BKSC : Tensor
        Queries of the T newest tokens, and keys and values of all S ≥ T. K divides H, and query
        head ``h`` reads key head ``h // (H/K)``.

    Returns
    -------
    Tensor
        (B, H, T, C).
    """
    n_queries, n_keys = q_BHTC.shape[-2], k_BKSC.shape[-2]
    grouped = q_BHTC.shape[-3] != k_BKSC.shape[-3]
    mask_TS = None
    if 1 < n_queries < n_keys:
        mask_TS = torch.ones(n_queries, n_keys, dtype=torch.bool, device=q_BHTC.device).tril(
            n_keys - n_queries
        )
    return F.scaled_dot_product_attention(
        q_BHTC,
        k_BKSC,
        v_BKSC,
        attn_mask=mask_TS,
        is_causal=n_queries == n_keys and n_queries > 1,
        enable_gqa=grouped,
    )


class SelfAttention(nn.Module):
    """One attention layer, its parameters named as in Hugging Face's Llama and Qwen.

    Parameters
    ----------
    config : ModelConfig
        Widths and head counts.
    layer : int
        The layer's index, by which a store tells layers apart.
    """

    def __init__(self, config: ModelConfig, *, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        query_width = config.n_heads * config.head_dim
        key_width = config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.d_model, query_width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.d_model, key_width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.d_model, key_width, bias=config.qkv_bias)
        self.o_proj = nn.Linear(query_width, config.d_model, bias=False)
        self.q_norm = RMSNorm(config.head_dim, eps=config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, eps=config.norm_eps) if config.qk_norm else None

    def forward(self, x_BTD: Tensor, turn: Rotation, store: KVStore | None = None) -> Tensor:
        """Mix information across positions; `turn` is the rotation of the T positions."""
        q_BHTC, k_BKTC = self._heads(self.q_proj(x_BTD)), self._heads(self.k_proj(x_BTD))
        v_BKTC = self._heads(self.v_proj(x_BTD))
        if self.q_norm is not None and self.k_norm is not None:
            q_BHTC, k_BKTC = self.q_norm(q_BHTC), self.k_norm(k_BKTC)
        q_BHTC, k_BKTC = rotate(q_BHTC, turn), rotate(k_BKTC, turn)
        if store is None:
            mixed_BHTC = causal_attention(q_BHTC, k_BKTC, v_BKTC)
        else:
            mixed_BHTC = store.attend(self.layer, q_BHTC, k_BKTC, v_BKTC)
        out: Tensor = self.o_proj(mixed_BHTC.transpose(1, 2).flatten(2))
        return out

    def _heads(self, x_BTE: Tensor) -> Tensor:
        return x_BTE.view(*x_BTE.shape[:2], -1, self.head_dim).transpose(1, 2)
