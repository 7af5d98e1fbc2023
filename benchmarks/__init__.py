"""Benchmarks: each a ratio to a named baseline on the same model, data and machine, with the outputs compared."""
