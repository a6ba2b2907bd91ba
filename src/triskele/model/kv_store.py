"""Keys and values side by side in one tensor per layer: the plain store behind generation.

One batch of sequences grows in step, all of one length. Room is taken once, for the longest
sequence to come. It does not know of pages, eviction, or sequences that differ in length.

Shape suffixes: B batch, T new tokens, H query heads, K key heads, C channels of a head.
"""

import torch
from torch import Tensor

from triskele.model.attention import causal_attention
from triskele.model.config import ModelConfig


class ContiguousStore:
    """A KVStore with a fixed capacity.

    Parameters
    ----------
    config : ModelConfig
        Of the model that will write to it.
    capacity : int
        Tokens of each sequence it can hold.
    batch_size : int
        Sequences.
    dtype, device
        Of keys and values: those of the model's parameters.

    Attributes
    ----------
    n_tokens : int
        Tokens of each sequence held so far.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        capacity: int,
        batch_size: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (config.n_layers, batch_size, config.kv_heads, capacity, config.head_dim)
        self._keys = torch.zeros(shape, dtype=dtype, device=device)
        self._values = torch.zeros(shape, dtype=dtype, device=device)
        self._capacity = capacity
        self.n_tokens = 0

    def positions(self, n_tokens: int) -> Tensor:
        """Return the positions of the next tokens, (T,).

        Raises
        ------
        ValueError
            When they do not fit.
        """
        end = self.n_tokens + n_tokens
        if end > self._capacity:
            raise ValueError(f"the store holds {self._capacity} tokens, got {end}")
        return torch.arange(self.n_tokens, end, device=self._keys.device)

    def attend(self, layer: int, q_BHTC: Tensor, k_BKTC: Tensor, v_BKTC: Tensor) -> Tensor:
        """Keep a layer's new keys and values; return (B, H, T, C), attention to past and new."""
        end = self.n_tokens + k_BKTC.shape[2]
        self._keys[layer, :, :, self.n_tokens : end] = k_BKTC
        self._values[layer, :, :, self.n_tokens : end] = v_BKTC
        return causal_attention(
            q_BHTC, self._keys[layer, :, :, :end], self._values[layer, :, :, :end]
        )

    def advance(self, n_tokens: int) -> None:
        """Close a forward pass: the tokens kept by `attend` become the past."""
        self.n_tokens += n_tokens
        assert self.n_tokens <= self._capacity
