"""Small models in machine code: the best momentum down to very small learning rates."""
