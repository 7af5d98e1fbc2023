"""Does the model know it better than a reader does? Its answers beside those of classifiers of its own states."""
