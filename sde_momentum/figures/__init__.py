"""Pictures of tidy data; needs matplotlib, which the rest of the library does without."""
