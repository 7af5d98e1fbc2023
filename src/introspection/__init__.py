"""Does a language model notice a concept that was injected into its activations? The study's library."""
