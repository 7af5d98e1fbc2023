"""Benchmarks: each a ratio to a named baseline on the same model, data and machine, with the outputs compared."""

import importlib

importlib.import_module("introspection.injection.repengs")  # before any benchmark imports repeng
