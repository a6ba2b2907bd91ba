import pytest
import torch
from tests.contracts.kv_store import KVStoreContract
from tests.oracles.attention import slow_causal_attention
from tests.serve.engine.test_layout import PAGE, chunk
from torch import Tensor

from triskele.model import KVStore, ModelConfig
from triskele.serve.engine.batching import Chunk
from triskele.serve.engine.layout import lay_out
from triskele.serve.engine.pages import PagedStore, causal_mask

CONFIG = ModelConfig(vocab_size=9, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2)
N_PAGES = 40


class SideBySide:
    """A paged store as the contract knows stores: B sequences that grow in step."""

    def __init__(self, config: ModelConfig, *, batch_size: int, capacity: int) -> None:
        n_pages = -(-capacity // PAGE)
        self._store = PagedStore(config, n_pages=batch_size * n_pages, page_size=PAGE)
        self._tables = torch.arange(batch_size * n_pages).view(batch_size, n_pages).numpy()
        self._n_done = 0

    def positions(self, n_tokens: int) -> Tensor:
        chunks = [chunk(row, self._n_done, n_tokens) for row in range(len(self._tables))]
        layout = lay_out(chunks, self._tables, page_size=PAGE, spare=self._store.spare, slack=None)
        self._store.load(layout)
        return self._store.positions(len(layout.tokens_T))[:n_tokens]

    def attend(self, layer: int, q_BHTC: Tensor, k_BKTC: Tensor, v_BKTC: Tensor) -> Tensor:
        n_sequences = len(q_BHTC)
        q, k, v = (x.transpose(0, 1).flatten(1, 2)[None] for x in (q_BHTC, k_BKTC, v_BKTC))
        mixed = self._store.attend(layer, q, k, v)[0]
        return mixed.unflatten(1, (n_sequences, -1)).transpose(0, 1)

    def advance(self, n_tokens: int) -> None:
        self._store.advance(n_tokens * len(self._tables))
        self._n_done += n_tokens


class TestPagedStore(KVStoreContract):
    def make(self, config: ModelConfig, *, batch_size: int, capacity: int) -> KVStore:
        return SideBySide(config, batch_size=batch_size, capacity=capacity)


@pytest.mark.parametrize("slack", [0, 5, None])
def test_every_sequence_attends_to_its_own_past_alone(slack: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    tables = torch.randperm(N_PAGES, generator=generator).view(5, 8).numpy()
    store = PagedStore(CONFIG, n_pages=N_PAGES, page_size=PAGE, dtype=torch.float64)
    shapes = [(0, 9), (0, 1), (0, 6), (0, 17), (0, 9)], [(9, 1), (1, 8), (6, 3), (17, 1), (9, 1)]
    past = {row: [torch.zeros(1, n, 0, 8).double() for n in (4, 2, 2)] for row in range(5)}
    for step in shapes:
        chunks: list[Chunk] = [chunk(row, *shape) for row, shape in enumerate(step)]
        layout = lay_out(chunks, tables, page_size=PAGE, spare=N_PAGES, slack=slack)
        n_tokens = len(layout.tokens_T)
        q, k, v = (torch.randn(1, n, n_tokens, 8, generator=generator).double() for n in (4, 2, 2))
        store.load(layout)
        assert store.positions(n_tokens).tolist() == layout.positions_T.tolist()
        mixed = store.attend(1, q, k, v)
        store.advance(n_tokens)
        for row in range(5):
            mine = torch.from_numpy(layout.tokens_T // 1000 == row)
            past[row] = [
                torch.cat((old, new[:, :, mine]), dim=2)
                for old, new in zip(past[row], (q, k, v), strict=True)
            ]
            expected = slow_causal_attention(q[:, :, mine], *past[row][1:])
            torch.testing.assert_close(mixed[:, :, mine], expected)


def test_layers_are_kept_apart() -> None:
    store = PagedStore(CONFIG, n_pages=2, page_size=PAGE)
    tables = torch.tensor([[0, 1]]).numpy()
    store.load(lay_out([chunk(0, 0, 1)], tables, page_size=PAGE, spare=2, slack=0))
    one, two = torch.ones(1, 2, 1, 8), torch.full((1, 2, 1, 8), 2.0)
    q = torch.ones(1, 4, 1, 8)
    store.attend(0, q, one, one)
    store.attend(1, q, two, two)
    store.load(lay_out([chunk(0, 1, 1)], tables, page_size=PAGE, spare=2, slack=0))
    assert (store.attend(0, q, one, one) == 1).all()
    assert (store.attend(1, q, two, two) == 2).all()


def test_the_mask_lets_a_query_see_itself_and_what_was_before() -> None:
    mask = causal_mask(torch.tensor([0, 2]), 2, 4, dtype=torch.float32)
    seen = (mask == 0)[:, 0].int().tolist()
    assert seen == [[[1, 0, 0, 0], [1, 1, 0, 0]], [[1, 1, 1, 0], [1, 1, 1, 1]]]


def test_a_page_takes_keys_and_values_of_all_layers() -> None:
    n_bytes = PagedStore.page_bytes(CONFIG, page_size=16, dtype=torch.bfloat16)
    assert n_bytes == 2 * 2 * 2 * 8 * 16 * 2
