"""Secrets of the backends: the seam and its stores."""
