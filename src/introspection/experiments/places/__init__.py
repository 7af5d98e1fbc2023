"""At what dose, and where? The study's question and the battery over strengths and windows of blocks."""
