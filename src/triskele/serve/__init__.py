"""Serve with less latency: which worker a request goes to, and what its cache keeps.

``cache`` and ``routing`` are the two decisions; ``simulate`` plays them on a fleet that does not
exist yet, ``gateway`` and ``engine`` on one that does, over ``http``; ``journal`` keeps what was
served, and ``launch`` is ``triskele serve``.

>>> from triskele.serve.cache import PrefixCache, RandomizedLeafToken
>>> cache = PrefixCache(1000, RandomizedLeafToken(1000, random.Random(0)))
"""

__all__: list[str] = []
