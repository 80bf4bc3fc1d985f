"""govctl audit: the log of everything that happened. Each module registers its commands on `app`."""

from gateway.cli.audit import content, erase, export, hold, reading, retention, seal, verify
from gateway.cli.audit.base import app

__all__ = ["app", "content", "erase", "export", "hold", "reading", "retention", "seal", "verify"]
