"""govctl audit: the log of everything that happened. Each module registers its commands on `app`."""

from gateway.cli.audit import (
    anchors,
    checkpoint,
    content,
    erase,
    export,
    hold,
    moving,
    query,
    reading,
    retention,
    seal,
    subject,
    verify,
    witness,
)
from gateway.cli.audit.base import app

__all__ = [
    "anchors",
    "app",
    "checkpoint",
    "content",
    "erase",
    "export",
    "hold",
    "moving",
    "query",
    "reading",
    "retention",
    "seal",
    "subject",
    "verify",
    "witness",
]
