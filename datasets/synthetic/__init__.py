"""Generated stand-ins: the same factors, shapes and splits, drawn by this suite."""
