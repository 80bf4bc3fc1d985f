"""Authorities of two trust domains and the time at which everything happens."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from identity.bundle import TrustBundle
from tests.support.certificates import CertificateAuthority, Leaf

NOW = 1_800_000_000
"""UNIX seconds."""


@dataclass(frozen=True)
class World:
    """Two trust domains, each with a root of its own, both known."""

    now: int = NOW
    home: CertificateAuthority = field(default_factory=lambda: CertificateAuthority.root("home.test", now=NOW))
    away: CertificateAuthority = field(default_factory=lambda: CertificateAuthority.root("away.test", now=NOW))

    @property
    def bundles(self) -> dict[str, TrustBundle]:
        return {"home.test": self.home.bundle("home.test"), "away.test": self.away.bundle("away.test")}

    def leaf(self, *uris: str, by: CertificateAuthority | None = None, **changes: Any) -> Leaf:
        """Issue a leaf that is in date; by default `spiffe://home.test/agent/a` by the root of home.test."""
        dates = {"not_before": self.now - 60, "not_after": self.now + 3600}
        uris = uris or ("spiffe://home.test/agent/a",)
        return (by or self.home).issue(*uris, **{**dates, **changes})


@pytest.fixture(scope="session")
def world() -> World:
    return World()
