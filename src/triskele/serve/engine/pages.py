"""Keys and values in pages: where the tokens of all sequences lie, and attention over them.

Kwon et al., *PagedAttention* (2023): key-value memory is one array of pages of a fixed number of
tokens, and a sequence is a list of page numbers, so that sequences share pages and none needs
contiguous room. Attention gathers a bucket's pages and hands them to torch's fused kernel.

Which page belongs to whom is the scheduler's business; what a token is, nobody's here.

Shape suffixes: T tokens of the step, H query heads, K key heads, C channels of a head, B pieces of
a bucket, Q queries of a piece, P pages of a piece, S tokens in those pages.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from triskele.model import ModelConfig
from triskele.serve.engine.layout import Bucket, Layout


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A bucket on the device.

    Attributes
    ----------
    first, n_pieces, n_queries, n_pages
        Its place in the flat row, and its shape.
    pages
        (B·P,), which pages to gather.
    n_keys
        How many of their tokens are attended to at all.
    mask
        (B, 1, Q, S), added to scores; ``None`` where nothing is to be left out.
    is_causal
        Whether the queries are also the keys.
    """

    first: int
    n_pieces: int
    n_queries: int
    n_pages: int
    pages: Tensor
    n_keys: int
    mask: Tensor | None
    is_causal: bool


class PagedStore:
    """A KVStore for a flat row of ragged sequences; one more page than asked for is nobody's.

    Parameters
    ----------
    config : ModelConfig
        Of the model that will write to it.
    n_pages, page_size : int
        Pages, and tokens in each.
    dtype, device
        Of keys and values: those of the model's parameters.

    Attributes
    ----------
    spare : int
        Index of the page that is nobody's.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        n_pages: int,
        page_size: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.page_size = page_size
        self.spare = n_pages
        self.dtype = dtype
        shape = (config.n_layers, n_pages + 1, page_size, config.kv_heads, config.head_dim)
        self._keys = torch.zeros(shape, dtype=dtype, device=device)
        self._values = torch.zeros(shape, dtype=dtype, device=device)
        self._group = config.n_heads // config.kv_heads
        self._positions_T = self._slots_T = torch.zeros(0, dtype=torch.int64)
        self._rectangles: tuple[Rectangle, ...] = ()

    @staticmethod
    def page_bytes(config: ModelConfig, *, page_size: int, dtype: torch.dtype) -> int:
        """Return the bytes that a page takes in all layers."""
        per_token = 2 * config.n_layers * config.kv_heads * config.head_dim
        return per_token * page_size * dtype.itemsize

    def load(self, layout: Layout) -> None:
        """Take up the layout of the next forward pass."""
        device = self._keys.device
        self.place(
            torch.from_numpy(layout.positions_T).to(device, non_blocking=True),
            torch.from_numpy(layout.slots_T).to(device, non_blocking=True),
            tuple(self._rectangle(bucket) for bucket in layout.buckets),
        )

    def place(
        self, positions_T: Tensor, slots_T: Tensor, rectangles: tuple[Rectangle, ...]
    ) -> None:
        """Take up tensors that are on the device already."""
        self._positions_T, self._slots_T, self._rectangles = positions_T, slots_T, rectangles

    def positions(self, n_tokens: int) -> Tensor:
        """Return the positions of the tokens of the step, (T,)."""
        assert n_tokens == len(self._positions_T)
        return self._positions_T

    def attend(self, layer: int, q_BHTC: Tensor, k_BKTC: Tensor, v_BKTC: Tensor) -> Tensor:
        """Keep a layer's new keys and values; return (1, H, T, C), each sequence on its own."""
        keys, values = self._keys[layer], self._values[layer]
        keys.flatten(0, 1).index_copy_(0, self._slots_T, k_BKTC[0].transpose(0, 1))
        values.flatten(0, 1).index_copy_(0, self._slots_T, v_BKTC[0].transpose(0, 1))
        q_THC = q_BHTC[0].transpose(0, 1)
        parts = [self._mix(rectangle, q_THC, keys, values) for rectangle in self._rectangles]
        mixed_THC = parts[0] if len(parts) == 1 else torch.cat(parts)
        return mixed_THC.transpose(0, 1)[None]

    def advance(self, n_tokens: int) -> None:
        """Close a forward pass; the next needs another layout."""
        assert n_tokens == len(self._slots_T)

    def _rectangle(self, bucket: Bucket) -> Rectangle:
        n_pieces, n_pages = bucket.pages_BP.shape
        device, n_queries = self._keys.device, bucket.n_queries
        n_slots = n_pages * self.page_size
        alone = n_pieces == 1
        n_keys = int(bucket.starts_B[0]) + n_queries if alone else n_slots
        is_causal = alone and n_queries > 1 and n_keys == n_queries
        mask = None
        if not is_causal and not (alone and n_queries == 1):
            starts_B = torch.from_numpy(bucket.starts_B).to(device, non_blocking=True)
            mask = causal_mask(starts_B, n_queries, n_keys, dtype=self.dtype)
        pages = torch.from_numpy(bucket.pages_BP.reshape(-1)).to(device, non_blocking=True)
        return Rectangle(bucket.first, n_pieces, n_queries, n_pages, pages, n_keys, mask, is_causal)

    def _mix(self, at: Rectangle, q_THC: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend within a rectangle; returns (B·Q, H, C)."""
        n, n_queries = at.n_pieces, at.n_queries
        k_BKSC = self._gather(at, keys)
        v_BKSC = self._gather(at, values)
        rows = q_THC[at.first : at.first + n * n_queries]
        n_heads, n_channels = rows.shape[1:]
        if n_queries == 1:
            # The queries of a group see the same keys: they are one piece of several queries.
            q_BKGC = rows.reshape(n, -1, self._group, n_channels)
            mixed = F.scaled_dot_product_attention(q_BKGC, k_BKSC, v_BKSC, attn_mask=at.mask)
            return mixed.reshape(n, n_heads, n_channels)
        mixed_BHQC = F.scaled_dot_product_attention(
            rows.reshape(n, n_queries, n_heads, n_channels).transpose(1, 2),
            k_BKSC,
            v_BKSC,
            attn_mask=at.mask,
            is_causal=at.is_causal,
            enable_gqa=self._group > 1,
        )
        return mixed_BHQC.transpose(1, 2).reshape(-1, n_heads, n_channels)

    def _gather(self, at: Rectangle, pages: Tensor) -> Tensor:
        rows = pages.index_select(0, at.pages)
        whole_BSKC = rows.view(at.n_pieces, at.n_pages * self.page_size, *pages.shape[2:])
        return whole_BSKC[:, : at.n_keys].transpose(1, 2)


def causal_mask(starts_B: Tensor, n_queries: int, n_keys: int, *, dtype: torch.dtype) -> Tensor:
    """Return what to add to scores, (B, 1, Q, S): 0 at and before a query, -∞ after it."""
    device = starts_B.device
    ends_BQ = starts_B[:, None] + torch.arange(n_queries, device=device)
    after = torch.arange(n_keys, device=device) > ends_BQ[:, None, :, None]
    return torch.zeros(after.shape, dtype=dtype, device=device).masked_fill_(after, -torch.inf)
