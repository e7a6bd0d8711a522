"""The universal curve: its data and reading (`universal_curve`), and its simulation (`simulate`, `search`, `settings`)."""
