import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.serve.engine.models import drain
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from triskele.model import ModelConfig, Transformer, save_checkpoint, train_tokenizer
from triskele.model.llama_config import to_llama_config
from triskele.serve.cache.named import EVICTIONS
from triskele.serve.engine import SamplingParams
from triskele.serve.engine.config import EngineConfig
from triskele.serve.engine.loading import SIZES, assemble, random_model

SHAPE = ModelConfig(vocab_size=300, d_model=16, n_layers=1, n_heads=2, max_seq_len=64)
TINY = EngineConfig(random="tiny", n_pages=40)


def checkpoint(folder: Path) -> Path:
    tokenizer = train_tokenizer(["the cat sat on the mat"] * 3, vocab_size=280)
    save_checkpoint(Transformer(SHAPE).bfloat16(), folder, tokenizer=tokenizer)
    return folder


def test_a_checkpoint_is_served_with_its_tokenizer_template_and_ends(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "cat")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [9]}))
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    engine, served = assemble(EngineConfig(model=folder, n_pages=30, page_size=4))
    assert (served.name, served.page_size, served.n_pages) == ("cat", 4, 30)
    assert served.max_seq_len == engine.max_tokens == 64
    assert served.template.render([{"role": "user", "content": "hi"}]) == "hi!"
    assert served.codec.encode("<|endoftext|>") == [0]
    assert engine._end_ids == {0, 9}
    engine.add("a", served.codec.encode("the cat"), SamplingParams(max_tokens=4, ignore_eos=True))
    assert len(drain(engine)["a"]) == 4


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
def test_a_foreign_checkpoint_answers_as_in_transformers(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = CONFIG_MAPPING[kind](
        vocab_size=280,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        eos_token_id=None,
    )
    theirs = AutoModelForCausalLM.from_config(shape).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            # Logits far apart: roundings must not decide.
            parameter.normal_(1.0, 0.5) if parameter.ndim == 1 else parameter.mul_(12)
    theirs.save_pretrained(tmp_path)
    tokenizer = train_tokenizer(["the cat sat on the mat"] * 3, vocab_size=280)
    tokenizer.save(tmp_path / "tokenizer.json")
    engine, served = assemble(EngineConfig(model=tmp_path, n_pages=12, page_size=4, device="cpu"))
    params = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True)
    prompts = {text: served.codec.encode_prompt(text) for text in ("the cat", "the dog sat", "x")}
    for text, prompt in prompts.items():
        engine.add(text, prompt, params)
    answers = drain(engine)
    for text, prompt in prompts.items():
        ids = torch.tensor([prompt])
        expected = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16
        )
        assert [piece.token for piece in answers[text]] == expected[0, len(prompt) :].tolist()


@pytest.mark.parametrize("eviction", EVICTIONS)
def test_every_eviction_policy_serves(eviction: str) -> None:
    engine, served = assemble(replace(TINY, eviction=eviction, served_name="x"))
    assert served.name == "x"
    for n in range(3):
        engine.add(str(n), [65] * 20, SamplingParams(max_tokens=4))
    drain(engine)


@pytest.mark.parametrize(
    ("dtype", "expected"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_precision_is_single_on_a_cpu_unless_asked_for(
    dtype: str, expected: torch.dtype, tmp_path: Path
) -> None:
    config = EngineConfig(model=checkpoint(tmp_path), n_pages=9, dtype=dtype, device="cpu")
    engine, _ = assemble(config)
    engine.add("a", [65], SamplingParams(max_tokens=2, temperature=0, ignore_eos=True))
    assert len(drain(engine)["a"]) == 2
    assert engine._forward._store.dtype == expected  # type: ignore[attr-defined]


def test_memory_is_turned_into_pages() -> None:
    _, served = assemble(EngineConfig(random="tiny", memory=1 / 1024, device="cpu"))
    # 2 layers of 2 heads of 16 channels, keys and values, 16 tokens, 4 bytes.
    assert served.n_pages == 2**20 // (2 * 2 * 2 * 16 * 16 * 4)


def test_random_models_have_the_size_of_their_names_or_files(tmp_path: Path) -> None:
    assert random_model("small", seed=0).config == SIZES["small"]
    path = tmp_path / "shape.json"
    path.write_text(json.dumps(to_llama_config(SHAPE, dtype="float32", eos_id=None)))
    loaded = random_model(str(path), seed=1).config
    assert (loaded.d_model, loaded.vocab_size) == (16, 300)
    _, served = assemble(EngineConfig(random=str(path), n_pages=9))
    assert served.name == "random-shape"
    assert SIZES["0.5b"].n_params < 0.7e9
    assert 1.0e9 < SIZES["1b"].n_params < 1.5e9


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (EngineConfig(), "either --model or --random"),
        (replace(TINY, model=Path()), "either --model or --random"),
        (replace(TINY, random="huge"), r"expected --random tiny, .* or a file, got huge"),
        (replace(TINY, eviction="best"), r"expected --eviction lru, .*; got best"),
        (replace(TINY, device="gpu7"), "expected --device cpu, cuda, cuda:N or auto, got gpu7"),
        (replace(TINY, dtype="int8"), "expected --dtype float32, bfloat16, float16 or auto"),
        (replace(TINY, n_pages=None, memory=1e-9), "at least one page of 8192 bytes"),
    ],
)
def test_what_does_not_exist_is_named(config: EngineConfig, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        assemble(config)


def test_a_damaged_shape_is_named(tmp_path: Path) -> None:
    (tmp_path / "shape.json").write_text("{")
    with pytest.raises(ValueError, match=r"shape\.json is not JSON"):
        random_model(str(tmp_path / "shape.json"), seed=0)
