"""Is it a leaning? The study's question in many wordings and their reversals, against what control questions do."""
