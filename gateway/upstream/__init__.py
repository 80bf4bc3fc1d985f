"""Backends: the static registry, balancing, health and the client."""
