"""Every prediction against full simulation, on all built-in problems."""
