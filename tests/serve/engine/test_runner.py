import torch
from tests.serve.engine.models import CONFIG, tiny_model
from tests.serve.engine.test_layout import PAGE, chunk

from triskele.serve.engine.pages import PagedStore
from triskele.serve.engine.runner import Runner


def test_logits_are_those_of_a_forward_pass_over_the_whole() -> None:
    model = tiny_model()
    store = PagedStore(CONFIG, n_pages=20, page_size=PAGE, dtype=torch.float64)
    tables = torch.arange(20).view(4, 5).numpy()
    runner = Runner(model, store)
    prompts = [[1, 2, 3, 4, 5, 6], [7], [8] * 9, [9, 10]]
    n_done = [0] * 4
    for shares in ([3, 1, 9, 1], [2, 0, 0, 1], [1, 0, 0, 0]):
        chunks = []
        for row, n_tokens in enumerate(shares):
            if n_tokens:
                piece = chunk(row, n_done[row], n_tokens)
                piece.sequence.tokens = prompts[row]
                chunks.append(piece)
                n_done[row] += n_tokens
        logits = runner.run(chunks, tables)
        wanted = [each.sequence.tokens for each in chunks if each.is_sampled]
        assert len(logits) == len(wanted)
        for row, tokens in zip(logits, wanted, strict=True):
            with torch.no_grad():
                expected = model(torch.tensor([tokens]))[0, -1]
            torch.testing.assert_close(row, expected, rtol=1e-9, atol=1e-9)
