import json

import pytest
import torch
from tests.train.small_runs import small_config, write_text
from transformers import AutoTokenizer, LlamaForCausalLM

import triskele
from triskele.model import load_checkpoint, load_tokenizer
from triskele.train import WatchOptions, pretrain


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    watch = WatchOptions(validation_tokens=256, sample_tokens=50, prompt="abc", tensorboard=False)
    pretrain(small_config(write_text(folder / "text.txt"), folder / "run", watch=watch))
    return folder / "run"


def test_the_checkpoint_loads_in_transformers_with_the_same_logits(out):
    ours = load_checkpoint(out / "checkpoint")
    theirs = LlamaForCausalLM.from_pretrained(out / "checkpoint", dtype=torch.float32)
    tokens = torch.randint(0, 300, (2, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-5, rtol=1e-5)


def test_the_tokenizer_loads_in_transformers_with_the_same_ids(out):
    ours = load_tokenizer(out / "checkpoint")
    theirs = AutoTokenizer.from_pretrained(out / "checkpoint")
    text = "abc def\n  12345"
    assert theirs(text, add_special_tokens=False)["input_ids"] == ours.encode(text)


def test_the_sample_continues_the_prompt_beyond_one_context(out):
    text = (out / "sample.txt").read_text()
    assert text.startswith("abc")
    assert len(load_tokenizer(out / "checkpoint").encode(text)) > 16


def test_the_run_is_written_down_with_its_versions(out):
    record = json.loads((out / "run.json").read_text())
    assert record["config"]["data"].endswith("text.txt")
    assert record["plan"]["optimizer"] == "dynmuon"
    assert record["versions"]["triskele"] == triskele.__version__
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
