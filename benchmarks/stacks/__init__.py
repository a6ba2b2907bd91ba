"""Bare proxies on several HTTP stacks: one upstream, bodies passed on, nothing decided.

Each is a module of its own, ``python -m benchmarks.stacks.NAME UPSTREAM``, that prints
``{"port": N}`` when it listens; ``benchmarks/http_stacks.py`` measures them.
"""
