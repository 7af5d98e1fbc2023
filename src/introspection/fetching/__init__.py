"""Bringing in what the study needs: data files, and models that packages carry. None of this is run while measuring."""
