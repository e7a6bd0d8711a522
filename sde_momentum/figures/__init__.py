"""Pictures of arrays and datasets; the only room that needs matplotlib."""
