"""What a model reads under each prompt, token by token, and which of the tokens are steered."""
