"""Which one? The injected concept picked out of a numbered list, and named among many words."""
