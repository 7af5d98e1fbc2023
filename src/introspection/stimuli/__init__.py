"""What is asked: the prompts as data, and conversations as tokens with the place where each turn ends."""
