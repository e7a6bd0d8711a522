"""How fast the limits become true as the learning rate falls."""
