import json

import pytest
from transformers import CONFIG_MAPPING

from triskele.model import ModelConfig, RopeScaling
from triskele.model.llama_config import from_llama_config, to_llama_config

STRETCH = RopeScaling(8.0, 1.0, 4.0, 8192)
CONFIGS = [
    ModelConfig(vocab_size=99, d_model=32, n_heads=4, n_kv_heads=4, d_head=8, d_ff=128),
    ModelConfig(
        vocab_size=99,
        d_model=64,
        n_layers=7,
        n_heads=4,
        n_kv_heads=2,
        d_head=32,
        d_ff=90,
        max_seq_len=77,
        rope_theta=5e5,
        rope_scaling=STRETCH,
        norm_eps=3e-6,
        tie_embeddings=False,
    ),
    ModelConfig(
        vocab_size=99, d_model=32, n_heads=4, n_kv_heads=2, d_head=8, d_ff=90, qkv_bias=True
    ),
    ModelConfig(
        vocab_size=99, d_model=32, n_heads=4, n_kv_heads=2, d_head=16, d_ff=90, qk_norm=True
    ),
]
FEW = {
    "vocab_size": 99,
    "hidden_size": 4096,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 32,
}


def written(config: ModelConfig = CONFIGS[0]) -> dict[str, object]:
    return to_llama_config(config, dtype="float32", eos_id=None)


@pytest.mark.parametrize("config", CONFIGS)
def test_written_and_read_back_nothing_is_lost(config: ModelConfig) -> None:
    assert from_llama_config(json.loads(json.dumps(written(config)))) == config


@pytest.mark.parametrize("config", CONFIGS)
def test_what_transformers_makes_of_it_reads_back_the_same(config: ModelConfig) -> None:
    ours = written(config)
    theirs = CONFIG_MAPPING[ours["model_type"]].from_dict(ours).to_dict()
    assert from_llama_config(theirs) == config


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
def test_silence_means_what_it_means_in_transformers(kind: str) -> None:
    few = {"model_type": kind, **FEW}
    if kind == "mistral":
        few["sliding_window"] = None
    theirs = CONFIG_MAPPING[kind].from_dict(few)
    ours = from_llama_config(few)
    assert ours.head_dim == getattr(theirs, "head_dim", 128)
    assert ours.norm_eps == theirs.rms_norm_eps
    assert ours.max_seq_len == theirs.max_position_embeddings
    assert ours.tie_embeddings is theirs.tie_word_embeddings
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
    assert ours.kv_heads == theirs.num_key_value_heads


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"architectures": ["MixtralForCausalLM"]}, "architecture LlamaForCausalLM.*, got Mixtral"),
        ({"architectures": None, "model_type": "gpt2"}, "LlamaForCausalLM, .*, got gpt2"),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 77}, "1024, got 77"),
        (
            {"architectures": ["Qwen2ForCausalLM"], "layer_types": ["sliding_attention"]},
            "layers of full_attention, got sliding_attention",
        ),
        (
            {
                "architectures": ["Qwen2ForCausalLM"],
                "use_sliding_window": True,
                "sliding_window": 64,
            },
            "no sliding window below max_position_embeddings 1024, got 64",
        ),
        ({"hidden_act": "gelu"}, "hidden_act 'silu', got 'gelu'"),
        ({"attention_bias": True}, "attention_bias False, got True"),
        ({"mlp_bias": True}, "mlp_bias False, got True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config None, got {'bits': 4}"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "'default' or 'llama3', got 'linear'"),
        ({"num_key_value_heads": 3}, "n_kv_heads must divide"),
    ],
)
def test_what_cannot_be_computed_is_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        from_llama_config({**written(), **changes})


@pytest.mark.parametrize("key", ["vocab_size", "intermediate_size"])
def test_a_missing_number_is_named(key: str) -> None:
    raw = written()
    del raw[key]
    with pytest.raises(ValueError, match=f"a key '{key}'"):
        from_llama_config(raw)


def test_a_window_that_no_sequence_outgrows_is_not_felt() -> None:
    mistral = {**written(), "architectures": ["MistralForCausalLM"], "sliding_window": 1024}
    assert from_llama_config(mistral) == CONFIGS[0]
    unused = {"use_sliding_window": False, "sliding_window": 64}
    qwen = {**written(), "architectures": ["Qwen2ForCausalLM"], **unused}
    assert from_llama_config(qwen).qkv_bias


def test_a_mistral_that_says_nothing_of_its_window_has_one() -> None:
    with pytest.raises(ValueError, match="131072, got 4096"):
        from_llama_config({"model_type": "mistral", **FEW})


def test_biases_and_normalised_heads_at_once_have_no_name() -> None:
    both = ModelConfig(vocab_size=9, qkv_bias=True, qk_norm=True)
    with pytest.raises(ValueError, match="no known architecture"):
        written(both)
