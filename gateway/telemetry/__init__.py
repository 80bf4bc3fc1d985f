"""Logs, metrics, trace context and the operations listener."""
