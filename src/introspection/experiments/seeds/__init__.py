"""What one training of an organism owes to its seed: the lens on the same organism, trained anew from other seeds."""
