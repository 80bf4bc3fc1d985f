"""The controls as data: what each asks, where that is said, since when, and how the log answers it."""
