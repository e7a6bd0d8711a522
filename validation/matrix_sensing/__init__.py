"""Matrix sensing: the time for the test error to fall, swept over learning rate and momentum, against every prediction."""
