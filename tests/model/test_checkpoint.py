import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
)

from triskele.model import (
    ModelConfig,
    RopeScaling,
    Transformer,
    load_checkpoint,
    load_end_ids,
    save_checkpoint,
    train_tokenizer,
)

SMALL = ModelConfig(vocab_size=300, d_model=32, n_layers=2, n_heads=4, max_seq_len=64)
KINDS = {
    "tied": SMALL,
    "untied": ModelConfig(vocab_size=300, d_model=32, n_layers=2, n_heads=4, tie_embeddings=False),
    "grouped": ModelConfig(vocab_size=300, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2),
    "wide heads": ModelConfig(vocab_size=300, d_model=32, n_layers=2, n_heads=4, d_head=16),
    "biased": ModelConfig(vocab_size=300, d_model=32, n_heads=4, n_kv_heads=2, qkv_bias=True),
    "normalised": ModelConfig(vocab_size=300, d_model=32, n_heads=4, d_head=16, qk_norm=True),
    "stretched": ModelConfig(
        vocab_size=300, d_model=64, n_heads=2, rope_theta=5e5, rope_scaling=RopeScaling(8, 1, 4, 64)
    ),
}


@torch.no_grad()
def make(config: ModelConfig = SMALL, *, seed: int = 0) -> Transformer:
    generator = torch.Generator().manual_seed(seed)
    model = Transformer(config, generator=generator)
    for name, parameter in model.named_parameters():
        if name.endswith(("bias", "q_norm.weight", "k_norm.weight")):
            parameter.normal_(1.0, 0.5, generator=generator)
    return model


def some_tokens() -> Tensor:
    return torch.randint(300, (2, 40), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def difference(one: torch.nn.Module, other: torch.nn.Module) -> float:
    def logits(model: torch.nn.Module) -> Tensor:
        out = model(some_tokens())
        found: Tensor = out if isinstance(out, Tensor) else out.logits
        return found.float()

    return float((logits(one) - logits(other)).abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_computes_the_same_logits(kind: str, tmp_path: Path) -> None:
    model = make(KINDS[kind])
    save_checkpoint(model, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert theirs.dtype == torch.float32
    assert difference(model, theirs) <= 1e-6


def test_transformers_computes_the_same_logits_in_bfloat16(tmp_path: Path) -> None:
    model = make(KINDS["grouped"]).bfloat16()
    save_checkpoint(model, tmp_path)
    theirs = LlamaForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert theirs.dtype == torch.bfloat16
    assert difference(model, theirs) <= 2**-9


@pytest.mark.parametrize("shard_size", ["5GB", "20KB"])
@pytest.mark.parametrize("tied", [True, False])
def test_what_transformers_saved_loads_here(shard_size: str, tied: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    theirs = LlamaForCausalLM(config)
    theirs.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard_size == "20KB")
    ours = load_checkpoint(tmp_path)
    assert difference(ours, theirs) <= 1e-6
    assert (ours.lm_head.weight is ours.model.embed_tokens.weight) == tied


@pytest.mark.parametrize("kind", ["mistral", "qwen2", "qwen3"])
def test_relatives_of_llama_load_here_and_compute_the_same(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": 5e5},
    )
    theirs = AutoModelForCausalLM.from_config(config)
    for parameter in theirs.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 1.0, 0.5)
    theirs.save_pretrained(tmp_path)
    assert difference(load_checkpoint(tmp_path), theirs) <= 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_saved_and_loaded_every_weight_is_the_same(
    kind: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = make(KINDS[kind]).to(dtype)
    save_checkpoint(model, tmp_path / "new" / "folder")
    loaded = load_checkpoint(tmp_path / "new" / "folder")
    assert loaded.config.n_params == model.config.n_params
    assert all(p.requires_grad for p in loaded.parameters())
    assert [name for name, _ in loaded.named_parameters()] == [
        name for name, _ in model.named_parameters()
    ]
    for name, tensor in model.state_dict().items():
        stored = loaded.state_dict()[name]
        assert stored.dtype == dtype
        assert torch.equal(stored, tensor), name


def test_a_precision_can_be_asked_for(tmp_path: Path) -> None:
    save_checkpoint(make().bfloat16(), tmp_path)
    loaded = load_checkpoint(tmp_path, dtype=torch.float32)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_the_tokenizer_loads_in_transformers_and_agrees(tmp_path: Path) -> None:
    texts = ["the quick brown fox\n    jumps over 12345 lazy dogs, don't they?"] * 3
    tokenizer = train_tokenizer(texts, vocab_size=300)
    save_checkpoint(make(), tmp_path, tokenizer=tokenizer)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*texts, "naïve 東京 \U0001f600\r\n\tx"]:
        ids = theirs(text)["input_ids"]
        assert ids == tokenizer.encode(text)
        assert theirs.decode(ids) == text
    assert theirs.eos_token_id == tokenizer.eos_id == 0
    assert theirs.model_max_length == 64
    assert LlamaForCausalLM.from_pretrained(tmp_path).generation_config.eos_token_id == 0


def test_saving_again_replaces_the_checkpoint_and_spares_other_files(tmp_path: Path) -> None:
    save_checkpoint(make(seed=1), tmp_path)
    (tmp_path / "loss.png").write_text("a picture")
    second = make(KINDS["untied"], seed=2)
    save_checkpoint(second, tmp_path)
    assert difference(load_checkpoint(tmp_path), second) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "loss.png",
        "model.safetensors",
    ]


def test_a_failure_midway_leaves_the_earlier_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(seed=1)
    save_checkpoint(first, tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise safetensors.SafetensorError("No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(OSError, match=r"cannot write .*No space left on device"):
        save_checkpoint(make(seed=2), tmp_path)
    assert difference(load_checkpoint(tmp_path), first) == 0
    assert len(list(tmp_path.iterdir())) == 2


FULL_DISK = """
import resource, sys, torch
from triskele.model import ModelConfig, Transformer, save_checkpoint
model = Transformer(ModelConfig(vocab_size=300, d_model=32, n_layers=2, n_heads=4, max_seq_len=64))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    save_checkpoint(model, sys.argv[1])
except OSError as error:
    print("refused:", error)
"""


def test_no_room_for_the_weights_is_an_error_that_changes_nothing(tmp_path: Path) -> None:
    first = make(seed=1)
    save_checkpoint(first, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("refused: ")
    assert difference(load_checkpoint(tmp_path), first) == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_saving_refuses_what_it_cannot_save(tmp_path: Path) -> None:
    wrapped = torch.nn.Sequential(make())
    with pytest.raises(ValueError, match="expected a Transformer, got Sequential"):
        save_checkpoint(wrapped, tmp_path)  # type: ignore[arg-type]
    mixed = make()
    mixed.model.norm.bfloat16()
    with pytest.raises(ValueError, match=r"one precision, got torch\.bfloat16, torch\.float32"):
        save_checkpoint(mixed, tmp_path)
    large = train_tokenizer(["abcdefgh" * 9, "hgfedcba" * 9, "the rest of it all"], vocab_size=320)
    with pytest.raises(ValueError, match="more than the model's vocabulary of 280"):
        save_checkpoint(
            make(ModelConfig(vocab_size=280, d_model=32, n_heads=4)), tmp_path, tokenizer=large
        )
    assert not list(tmp_path.iterdir())


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config\.json, .* does not exist"):
        load_checkpoint(tmp_path)
    save_checkpoint(make(), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"expected weights in .*model\.safetensors, which does"):
        load_checkpoint(tmp_path)
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"model-00001-of-00001\.safetensors, which does not"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not tensors at all, but long enough"])
def test_damaged_weights_are_named(content: bytes, tmp_path: Path) -> None:
    save_checkpoint(make(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        load_checkpoint(tmp_path)


def test_truncated_weights_are_named(tmp_path: Path) -> None:
    save_checkpoint(make(), tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(("content", "complaint"), [("{", "is not JSON"), ("[]", "got list")])
def test_a_damaged_config_is_named(content: str, complaint: str, tmp_path: Path) -> None:
    save_checkpoint(make(), tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=complaint):
        load_checkpoint(tmp_path)


def rewrite(folder: Path, **changes: Tensor | None) -> None:
    """Change tensors of a saved checkpoint; None removes one. Dots are double underscores."""
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        tensors.pop(name.replace("__", "."), None)
        if tensor is not None:
            tensors[name.replace("__", ".")] = tensor
    safetensors.torch.save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (torch.ones(31), r"model\.norm\.weight in .*: expected shape \(32,\), got \(31,\)"),
        (None, r"lacks model\.norm\.weight$"),
        (torch.ones(32, dtype=torch.int8), r"expected torch\.bfloat16.*got torch\.int8"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    change: Tensor | None, complaint: str, tmp_path: Path
) -> None:
    save_checkpoint(make(), tmp_path)
    rewrite(tmp_path, model__norm__weight=change)
    with pytest.raises(ValueError, match=complaint):
        load_checkpoint(tmp_path)


def test_unexpected_tensors_are_named_and_customary_leftovers_ignored(tmp_path: Path) -> None:
    save_checkpoint(make(), tmp_path)
    rewrite(tmp_path, model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(4))
    load_checkpoint(tmp_path)
    rewrite(tmp_path, model__layers__0__self_attn__q_proj__bias=torch.ones(32))
    with pytest.raises(ValueError, match=r"holds model\.layers\.0\.self_attn\.q_proj\.bias, which"):
        load_checkpoint(tmp_path)


def test_one_line_is_enough_to_say_that_nearly_everything_is_missing(tmp_path: Path) -> None:
    save_checkpoint(make(), tmp_path)
    safetensors.torch.save_file(
        {"model.norm.weight": torch.ones(32)}, tmp_path / "model.safetensors"
    )
    with pytest.raises(ValueError, match=r"lacks .* and 16 more$"):
        load_checkpoint(tmp_path)


def test_a_model_ends_with_every_token_that_its_files_name(tmp_path: Path) -> None:
    save_checkpoint(make(), tmp_path)
    assert load_end_ids(tmp_path) == frozenset()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "eos_token_id": 7}))
    assert load_end_ids(tmp_path) == {7}
    beside = tmp_path / "generation_config.json"
    beside.write_text(json.dumps({"eos_token_id": [3, 5]}))
    assert load_end_ids(tmp_path) == {3, 5, 7}
    beside.write_text(json.dumps({"eos_token_id": ["</s>"]}))
    with pytest.raises(ValueError, match=r"ids as eos_token_id in .*, got \['</s>'\]"):
        load_end_ids(tmp_path)
