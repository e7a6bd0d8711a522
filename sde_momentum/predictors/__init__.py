"""Which momentum: by transfer, by geometry, by reduced simulation (T9)."""
