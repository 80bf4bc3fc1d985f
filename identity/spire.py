"""The gateway's identity from another Workload API, SPIRE's: its SVID, its bundles, their rotations.

The `spiffe` package keeps the streams; here its objects are turned into ours. It gives up for good where the other side
refuses (an entry that was deleted, say), so the source is opened anew, and what was received last stays good until it
expires.
"""

import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import JwtSource, X509Source
from spiffe.errors import PySpiffeError

from identity.bundle import TrustBundle
from identity.clock import NANOSECONDS, Clock
from identity.errors import IdentityError
from identity.spiffe_id import SpiffeId

OPEN_SECONDS = 10.0
"""How long the first answer may take."""

PROBE_SECONDS = 5
"""How often it is looked whether the other side is there."""

REOPEN_SECONDS = 10
"""After the other side refused."""


class SpireError(IdentityError):
    """No identity can be had from the Workload API."""


@dataclass(frozen=True, slots=True)
class SpireMaterial:
    """What the Workload API gave.

    Attributes:
        spiffe_id: of the gateway.
        chain_pem: leaf first.
        key_pem: PKCS #8.
        serial: serial number of the leaf (hex).
        not_after: UNIX seconds.
        bundles: by trust domain, the own and the federated ones.
    """

    spiffe_id: SpiffeId
    chain_pem: bytes
    key_pem: bytes
    serial: str
    not_after: int
    bundles: Mapping[str, TrustBundle]

    def __repr__(self) -> str:
        return f"SpireMaterial({str(self.spiffe_id)!r}, not_after={self.not_after}, key_pem=<secret>)"


class SpireSource:
    """Keeps the latest material. Its methods block: call them in a thread.

    Attributes:
        away: why the Workload API cannot be reached; empty while it can.
    """

    def __init__(self, address: str, clock: Clock, spiffe_id: str = "") -> None:
        """Args: address: `unix:///path` of the socket. spiffe_id: the identity to take, if there are several."""
        self._address = address
        self._clock = clock
        self._wanted = spiffe_id
        self._x509: X509Source | None = None
        self._jwt: JwtSource | None = None
        self._seen: tuple[Any, ...] = ()
        self._material: SpireMaterial | None = None
        self._probed = 0
        self._reopened = 0
        self.away = ""

    def open(self) -> SpireMaterial:
        """Connect and wait for the first answer.

        Raises:
            SpireError: there is none within ten seconds, or it is of no use.
        """
        self._connect()
        self.look()
        assert self._material is not None  # noqa: S101 - `look` set it or raised
        return self._material

    def look(self) -> SpireMaterial:
        """Take in what arrived; return the latest material, the same object while nothing changed.

        Raises:
            SpireError: what arrived is of no use.
        """
        self._probe()
        if self._x509 is None or self._jwt is None or self._x509.is_closed() or self._jwt.is_closed():
            self._reopen()
        if self._x509 is not None and self._jwt is not None and not self._x509.is_closed():
            self._take(self._x509, self._jwt)
        if self._material is None:
            raise SpireError(f"the Workload API at {self._address} has given no identity yet")
        return self._material

    def seconds_left(self) -> int:
        """Return for how long what was received is good (seconds)."""
        return max(0, self._material.not_after - self._now()) if self._material is not None else 0

    def close(self) -> None:
        """End the streams."""
        for source in (self._x509, self._jwt):
            if source is not None:
                with suppress(PySpiffeError):
                    source.close()
        self._x509 = self._jwt = None

    def _connect(self) -> None:
        try:
            self._x509 = X509Source(socket_path=self._address, timeout_in_seconds=OPEN_SECONDS, svid_picker=self._pick)
            self._jwt = JwtSource(socket_path=self._address, timeout_in_seconds=OPEN_SECONDS)
        except (PySpiffeError, ValueError) as error:
            self.close()
            raise SpireError(
                f"no identity came from the Workload API at {self._address}: {error}. Check that the agent runs, that "
                "the socket may be opened, and that an entry matches this process"
            ) from error

    def _pick(self, svids: list[Any]) -> Any:
        if not self._wanted:
            return svids[0]
        for svid in svids:
            if str(svid.spiffe_id) == self._wanted:
                return svid
        raise ValueError(f"{self._wanted} is not among the identities of this process")

    def _reopen(self) -> None:
        now = self._now()
        if now < self._reopened + REOPEN_SECONDS:
            return
        self._reopened = now
        self.close()
        try:
            self._connect()
        except SpireError as error:
            self.away = str(error)

    def _probe(self) -> None:
        now = self._now()
        if now < self._probed + PROBE_SECONDS:
            return
        self._probed = now
        path = self._address.removeprefix("unix://")
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                probe.connect(path)
            self.away = ""
        except OSError as error:
            self.away = f"the Workload API at {path} cannot be reached: {error.strerror or error}"

    def _take(self, x509: X509Source, jwt: JwtSource) -> None:
        try:
            context = x509.get_x509_context()
            keys = frozenset(jwt.bundles)
        except PySpiffeError as error:
            self.away = str(error)
            return
        seen = (context, keys)
        if self._seen and self._seen[0] is context and self._seen[1] == keys:
            return
        self._material = _material(self._pick(context.x509_svids), x509, jwt)
        self._seen = seen

    def _now(self) -> int:
        return self._clock() // NANOSECONDS


def _material(svid: Any, x509: X509Source, jwt: JwtSource) -> SpireMaterial:
    bundles = {}
    keys = {
        bundle.trust_domain.name: {
            key_id: key
            for key_id, key in bundle.jwt_authorities.items()
            if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
        }
        for bundle in jwt.bundles
    }
    for bundle in x509.bundles:
        name = bundle.trust_domain.name
        authorities = sorted(each.public_bytes(Encoding.DER) for each in bundle.x509_authorities)
        bundles[name] = TrustBundle(name, tuple(authorities), jwt_keys=keys.get(name, {}))
    leaf = svid.leaf
    return SpireMaterial(
        spiffe_id=SpiffeId.parse(str(svid.spiffe_id)),
        chain_pem=b"".join(each.public_bytes(Encoding.PEM) for each in svid.cert_chain),
        key_pem=svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        serial=f"{leaf.serial_number:x}",
        not_after=int(leaf.not_valid_after_utc.timestamp()),
        bundles=bundles,
    )
