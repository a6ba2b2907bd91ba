"""A decoder-only transformer in the Llama layout, its tokenizer, and its checkpoints.

A saved folder loads in ``transformers``, vLLM and SGLang, and theirs loads here.

>>> model = Transformer(ModelConfig(vocab_size=4096, d_model=128, n_layers=4, n_heads=4))
>>> model(tokens, targets).backward()
>>> save_checkpoint(model, "checkpoint", tokenizer=tokenizer)
"""

from triskele.model.attention import KVStore, causal_attention
from triskele.model.checkpoint import load_checkpoint, load_end_ids, save_checkpoint
from triskele.model.config import ModelConfig, RopeScaling
from triskele.model.cross_entropy import next_token_loss
from triskele.model.generation import generate, sample
from triskele.model.kv_store import ContiguousStore
from triskele.model.tokenizer import (
    BytePairTokenizer,
    ByteTokenizer,
    Tokenizer,
    load_tokenizer,
    train_tokenizer,
)
from triskele.model.transformer import Transformer, initialise

__all__ = [
    "BytePairTokenizer",
    "ByteTokenizer",
    "ContiguousStore",
    "KVStore",
    "ModelConfig",
    "RopeScaling",
    "Tokenizer",
    "Transformer",
    "causal_attention",
    "generate",
    "initialise",
    "load_checkpoint",
    "load_end_ids",
    "load_tokenizer",
    "next_token_loss",
    "sample",
    "save_checkpoint",
    "train_tokenizer",
]
