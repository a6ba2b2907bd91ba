"""Foundation models made cheaper over their whole life.

Import a room by name: ``triskele.optim`` (DynMuon), ``triskele.model`` (a Llama-layout
transformer) and ``triskele.train`` (pretraining from text).

>>> from triskele.optim import DynMuon
>>> optimizer = DynMuon.from_model(model, total_steps=10_000)
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
