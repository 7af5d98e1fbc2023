"""What comes from elsewhere, as it is read: suffixes, prompts, GGUF files, adapters, and where each is from."""
