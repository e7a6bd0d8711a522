"""The universal curve of time against momentum: data (`universal_curve`) and simulation (`simulate`, `search`, `settings`)."""
