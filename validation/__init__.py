"""The predictions against training in PyTorch."""
