"""Serve with less latency. So far: the prefix caches, in ``triskele.serve.cache``.

>>> from triskele.serve.cache import PrefixCache, RandomizedLeafToken
>>> cache = PrefixCache(1000, RandomizedLeafToken(1000, random.Random(0)))
"""

__all__: list[str] = []
