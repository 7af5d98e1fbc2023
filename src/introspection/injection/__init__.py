"""What is injected, and what it is injected into.

vectors.py makes control vectors and directions to compare them with, finetune.py lets a finetune read turn 1 and makes
the persona vector, cells.py puts every injection beside the same conversation with none.
"""
