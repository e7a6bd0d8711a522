"""The ways to predict: one contract (`base`), one file a way, and the list of them (`registry`)."""
