"""What every training here shares: the learning rate, work that is cut off and goes on, low-rank maps, determinism."""
