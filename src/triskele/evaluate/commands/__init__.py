"""The commands of ``triskele evaluate``, one module each: arguments, progress, tables, exit status.

>>> import_module("triskele.evaluate.commands.fit").main(["votes.jsonl", "--out", "model.npz"])
0
"""

__all__: list[str] = []
