"""Detection, control questions and replies again, injected in the range that the sweep chose."""
