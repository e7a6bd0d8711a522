"""One small experiment for each neighbouring paper: its claim beside what is measured."""
