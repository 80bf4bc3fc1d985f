"""A trust domain in a directory of its own, with a clock that is set."""

from dataclasses import replace
from pathlib import Path

import pytest

from identity.authority import Authority, AuthoritySettings, authority_dir, create_trust_domain
from identity.bundle import load_bundle
from identity.clock import NANOSECONDS
from identity.jwt_svid import verify_jwt_svid
from identity.keys import SealedKeyManager
from identity.sealing import generate_seal_key
from identity.spiffe_id import SpiffeId
from identity.verification import verify_peer
from tests.support.certificates import new_key

START = 1_800_000_000


class SettableClock:
    """A clock that stands still until it is set (UNIX seconds)."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now * NANOSECONDS


class Domain:
    """A trust domain `home.test`."""

    name = "home.test"
    agent = SpiffeId.parse("spiffe://home.test/agent/a")

    def __init__(self, state_dir: Path, **choices) -> None:
        self.state_dir, self.seal_key, self.clock = state_dir, generate_seal_key(), SettableClock()
        self.settings = AuthoritySettings(**choices)
        self.first_bundle = create_trust_domain(state_dir, self.name, self.keys, self.clock, self.settings)

    @property
    def keys(self):
        return SealedKeyManager(authority_dir(self.state_dir), self.seal_key)

    @property
    def files(self) -> Path:
        return authority_dir(self.state_dir)

    @property
    def published(self):
        """The bundle as it lies on disk."""
        return load_bundle(self.name, self.files / "bundle.jwks")

    def open(self, trust_domain: str = name, keys=None, **choices) -> Authority:
        settings = replace(self.settings, **choices)
        return Authority.open(self.state_dir, trust_domain, keys or self.keys, self.clock, settings)

    def verify(self, svid, bundle=None):
        return verify_peer(svid.chain, {self.name: bundle or self.published}, self.clock.now)

    def verify_jwt(self, svid, bundle=None):
        return verify_jwt_svid(svid.token, {self.name: bundle or self.published}, "verifier", self.clock.now)

    def issue(self, authority, **changes):
        return authority.issue_x509_svid(self.agent, new_key().public_key(), **changes)

    def issue_jwt(self, authority, **changes):
        return authority.issue_jwt_svid(self.agent, ["verifier"], **changes)

    def take_root_key_away(self) -> Path:
        return (self.files / "root.key.sealed").rename(self.state_dir / "elsewhere")

    def bring_root_key_back(self) -> None:
        (self.state_dir / "elsewhere").rename(self.files / "root.key.sealed")


@pytest.fixture
def domain(tmp_path):
    return Domain(tmp_path / "state")


@pytest.fixture
def make_domain(tmp_path):
    return lambda **choices: Domain(tmp_path / "state", **choices)


@pytest.fixture(scope="session")
def domain_class():
    return Domain
