"""Small models out of the wild, and what is assigned to their parameters."""

from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from triskele.optim.roles import Assignment, assign_parameters


def assigned(model: nn.Module) -> dict[str, Assignment]:
    return {assignment.name: assignment for assignment in assign_parameters(model)}


def matrices(model: nn.Module) -> set[str]:
    return {name for name, a in assigned(model).items() if a.algorithm == "dynmuon"}


def llama(*, tied: bool = False) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=96,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=tied,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=1, n_embd=32, n_head=4, vocab_size=96, bos_token_id=None, eos_token_id=None
        )
    )


def mixtral() -> MixtralForCausalLM:
    return MixtralForCausalLM(
        MixtralConfig(
            vocab_size=96,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_local_experts=4,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
