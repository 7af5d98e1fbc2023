"""How many rows go through a model together with no work done twice; `introspection.engine.run` runs them.

Attention is causal, so steering turn 1 while everything is read in one pass equals the study's procedure (prefill turn
1 steered, remove the vector, read turn 2 against the cache). Two savings follow:

- A tree in depth. Rows over the same tokens compute the same thing until what is added to them first differs. One slot
  of the batch serves all rows that agree up to a block, and splits after the block where they part.
- A tree in tokens. Rows with the same turn 1 and the same injection share its keys and values, whatever follows it;
  and a row whose tokens are the beginning of another's is read from the other's pass.

Only the last tokens are read, so the last block computes its multilayer perceptron for those alone.

trial.py says what a row is, tree.py which rows share a slot at each depth, batches.py plans which rows go through a
model together and in which passes, work.py counts what those compute, passes.py carries one of them through a model,
cache.py keeps the keys and values of turn 1, memory.py says how many tokens fit, run.py runs rows as few batches.
"""
