"""For PyTorch training: momentum from the learning rate, and the timescales of a model. All but `cli` imports torch."""
