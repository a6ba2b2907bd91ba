import math

import numpy as np
import pytest
import torch
from tests.demo.small_demo import Watched
from torch.nn.functional import log_softmax

from triskele.demo.config import Traffic
from triskele.demo.scoring import Scores, score
from triskele.demo.workload import Passage, Query, Workload
from triskele.model import (
    ModelConfig,
    Transformer,
    load_checkpoint,
    save_checkpoint,
    train_tokenizer,
)

TEXT = "the quick brown fox jumps over the lazy dog and runs away from it\n" * 8


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([TEXT], vocab_size=300)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("models")
    config = ModelConfig(vocab_size=tokenizer.vocab_size, d_model=32, n_layers=1, n_heads=2)
    for seed, name in enumerate(("a", "b")):
        model = Transformer(config, generator=torch.Generator().manual_seed(seed))
        save_checkpoint(model, folder / name, tokenizer=tokenizer)
    return {name: folder / name for name in ("a", "b")}


def test_bits_are_those_of_the_continuation_token_by_token(checkpoints, tokenizer):
    tokens = tuple(tokenizer.encode(TEXT)[:40])
    asked = Workload(
        (Passage("code", tokens, (20, 30)),),
        (Query(0, 1, 0.0, "later"), Query(0, 0, 0.5, "sooner")),
    )
    watched = Watched()
    traffic = Traffic(scored=8)
    (found,) = score([asked], checkpoints, tokenizer, traffic, watched)
    assert found.models == ("a", "b")
    assert found.bits.shape == (2, 2)
    assert watched.shown[-1][1] == 2
    for column, folder in enumerate(checkpoints.values()):
        for row, cut in enumerate((30, 20)):
            assert found.bits[row, column] == pytest.approx(
                slowly(folder, tokens, cut, 8, tokenizer), rel=1e-4
            )


def test_the_right_model_has_the_fewest_bits():
    scores = Scores(("a", "b"), np.array([[2.0, 1.0], [1.5, 3.0]]))
    assert scores.right.tolist() == [1, 0]


@torch.inference_mode()
def slowly(folder, tokens, cut, n, tokenizer):
    model = load_checkpoint(folder)
    nats = 0.0
    for place in range(cut, cut + n):
        logits = model(torch.tensor([tokens[:place]]))[0, -1].float()
        nats -= float(log_softmax(logits, 0)[tokens[place]])
    n_bytes = len(tokenizer.decode(list(tokens[cut : cut + n])).encode())
    return nats / math.log(2.0) / n_bytes
