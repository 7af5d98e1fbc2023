"""Do the rules tell the organisms of the zoo apart? Each is examined as a model is, and judged by the same verdict."""
