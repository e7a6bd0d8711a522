"""Networks trained by PyTorch, many runs together: the predictions against real training."""
