"""A language model: its parts, where its weights lie, and what is read from it.

language_model.py finds the parts of any family that the measurement touches, loading.py opens a model, placement.py
says where its weights lie, hooks.py replaces what a module computes for a while, readout.py turns a residual stream
into a yes/no answer.
"""
