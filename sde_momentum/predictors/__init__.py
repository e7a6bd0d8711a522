"""Which momentum: by transfer, by geometry, by reduced simulation [theory: Ways to predict]."""
