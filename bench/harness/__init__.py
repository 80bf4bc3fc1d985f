"""Runs the benchmark: starts the parts, sends the load, measures the processes."""
