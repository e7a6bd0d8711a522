"""Ways to predict, the methods of predicting the best momentum: contract (`base`), a file each, and their list (`registry`)."""
