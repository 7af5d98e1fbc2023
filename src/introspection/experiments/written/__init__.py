"""State or text? A concept that is written into turn 1 beside one that is injected while it is read."""
