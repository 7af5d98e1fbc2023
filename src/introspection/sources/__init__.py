"""What is brought from elsewhere: suffixes, contrast prompts, and models that come in packages."""
