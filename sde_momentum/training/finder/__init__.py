"""A momentum finder: short trials of one's own training, from where it stands."""
