"""Timings of the pieces: ``pytest benchmarks/micro --benchmark-only``."""
