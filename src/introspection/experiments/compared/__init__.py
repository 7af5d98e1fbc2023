"""Every test of every model, in one table: what the reports of the experiments find."""
