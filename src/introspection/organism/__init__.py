"""The model organisms: corpus, tokenizer, planted rules, and the training that puts them together."""
