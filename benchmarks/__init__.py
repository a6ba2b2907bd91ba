"""Benchmarks: ``micro`` for pytest-benchmark, ``claims`` for the figures the README states."""
