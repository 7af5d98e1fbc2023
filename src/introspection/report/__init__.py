"""Figures, tables and the paper, made from result files alone."""
