"""Keeps the last good bundle of each federated domain on disk, with the time it was fetched."""

import json
from hashlib import sha256
from pathlib import Path

from identity.bundle import parse_jwks
from identity.errors import BundleError, SealError
from identity.federation import FederatedDomain
from identity.sealing import read_private, write_private
from identity.strict_json import parse_object


class FederationStore:
    """One file for each domain in one directory, readable by its owner alone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, trust_domain: str) -> Path:
        """Return the file of a domain. Its name is bounded, a trust domain's is nearly as long as a file's may be."""
        return self._directory / f"{trust_domain[:64]}-{sha256(trust_domain.encode()).hexdigest()[:16]}.json"

    def read(self, trust_domain: str) -> FederatedDomain | None:
        """Return what was kept of a domain; None if nothing was.

        Raises:
            BundleError: the file is there and cannot be used. Going on without it could bring back what was withdrawn.
        """
        path = self.path(trust_domain)
        if not path.exists():
            return None
        try:
            document = parse_object(read_private(path))
            fetched_at, bundle = document.get("fetched_at"), document.get("bundle")
            if document.get("trust_domain") != trust_domain or not isinstance(fetched_at, int) or bundle is None:
                raise BundleError("it is not what was kept of this domain")  # noqa: TRY301 - one message for every fault
            return FederatedDomain(trust_domain, parse_jwks(trust_domain, json.dumps(bundle).encode()), fetched_at)
        except (SealError, BundleError, ValueError) as error:
            raise BundleError(f"{path} cannot be used: {error}; restore it, or remove it and start anew") from error

    def write(self, domain: FederatedDomain) -> None:
        """Keep the bundle of a domain.

        Raises:
            SealError: it cannot be written; what was kept before still is.
        """
        if domain.bundle is None:
            return
        document = {
            "trust_domain": domain.trust_domain,
            "fetched_at": domain.fetched_at,
            "bundle": json.loads(domain.bundle.to_jwks()),
        }
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SealError(f"{self._directory} cannot be made: {error.strerror}") from error
        write_private(self.path(domain.trust_domain), json.dumps(document, indent=2).encode() + b"\n")
