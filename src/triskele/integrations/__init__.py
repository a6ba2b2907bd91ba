"""Our router and our eviction inside the engines people already run, one file per host.

>>> from triskele.integrations.ray_serve import LearnedRequestRouter  # where Ray is installed
>>> from triskele.integrations.vllm import install  # where vLLM is
>>> from triskele.integrations.sglang import install  # where SGLang is

A host's file imports its host, so none of them is imported here. What needs no host is in ``calls``
(what a call asks for) and ``chains`` (randomized eviction of blocks that know their parents).
"""

__all__: list[str] = []
