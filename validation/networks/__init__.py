"""Sweeps over learning rate and momentum on PyTorch networks, many runs at once, against the predictions."""
