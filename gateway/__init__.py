"""The governance gateway: listener, pipeline, control plane and command line."""

__version__ = "0.1.0"
