"""Does it know where? A part of a text is injected into, and the model chooses a part of it."""
