"""For PyTorch training: momentum from the learning rate, and the timescales of a model. Importing this imports torch."""
