"""A decoder-only transformer in the Llama layout.

>>> from triskele.model import ModelConfig, Transformer
>>> model = Transformer(ModelConfig(vocab_size=4096, d_model=128, n_layers=4, n_heads=4))
>>> loss = model(tokens, targets)
"""

from triskele.model.attention import KVStore
from triskele.model.config import ModelConfig, RopeScaling
from triskele.model.transformer import Transformer, initialise

__all__ = ["KVStore", "ModelConfig", "RopeScaling", "Transformer", "initialise"]
