"""X.509-SVIDs that break chosen rules, one or several at a time, each under a name."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from identity.bundle import TrustBundle
from tests.support.certificates import CLIENT, DAY, SERVER, CertificateAuthority, Leaf, key_usage, new_key
from tests.support.der import Node, certificate_of, read

HOME, AWAY = "home.test", "away.test"
AGENT = f"spiffe://{HOME}/agent/a"

Breakage = Mapping[str, Any]

CERTIFICATE: Mapping[str, Breakage] = {
    "nothing": {},
    "a DNS name too": {"dns": ["a.test"]},
    "no extended key usage": {"extended": None},
    "a critical SAN without a subject": {"subject": "", "san_critical": True},
    "more key usages": {"usage": key_usage("digital_signature", "key_agreement", "key_encipherment")},
    "P-384": {"key": "p384"},
    "RSA": {"key": "rsa"},
    "Ed25519": {"key": "ed25519"},
    "a scheme in capitals": {"uris": [f"SPIFFE://{HOME}/agent/a"]},
    "a trust domain in capitals": {"uris": ["spiffe://HOME.test/agent/a"]},
    "two URIs": {"uris": [AGENT, f"spiffe://{HOME}/agent/b"]},
    "the URI twice": {"uris": [AGENT, AGENT]},
    "no URI": {"uris": [], "dns": ["a.test"]},
    "no SAN": {"san": False},
    "another scheme": {"uris": [f"https://{HOME}/agent/a"]},
    "a dot segment": {"uris": [f"spiffe://{HOME}/agent/../a"]},
    "an encoded segment": {"uris": [f"spiffe://{HOME}/agent/%61"]},
    "a trailing slash": {"uris": [f"spiffe://{HOME}/agent/a/"]},
    "a port": {"uris": [f"spiffe://{HOME}:443/agent/a"]},
    "a user": {"uris": [f"spiffe://a@{HOME}/agent/a"]},
    "a query": {"uris": [f"{AGENT}?a=b"]},
    "a fragment": {"uris": [f"{AGENT}#a"]},
    "an ID too long": {"uris": [f"spiffe://{HOME}/{'a' * 2048}"]},
    "no path": {"uris": [f"spiffe://{HOME}"]},
    "the name of another domain": {"uris": [f"spiffe://{AWAY}/agent/a"]},
    "the name of an unknown domain": {"uris": ["spiffe://unknown.test/agent/a"]},
    "a SAN that is not critical without a subject": {"subject": ""},
    "a CA": {"ca": True},
    "no key usage": {"usage_present": False},
    "a key usage that is not critical": {"usage_critical": False},
    "no digitalSignature": {"usage": key_usage("key_agreement")},
    "keyCertSign": {"usage": key_usage("digital_signature", "key_cert_sign")},
    "cRLSign": {"usage": key_usage("digital_signature", "crl_sign")},
    "serverAuth alone": {"extended": [SERVER]},
    "clientAuth alone": {"extended": [CLIENT]},
    "neither serverAuth nor clientAuth": {"extended": [ExtendedKeyUsageOID.OCSP_SIGNING]},
    "P-521": {"key": "p521"},
    "a curve of no standard here": {"key": "k256"},
    "RSA of 1024 bits": {"key": "rsa1024"},
    "expired": {"dates": (-100, -1)},
    "in its last second": {"dates": (-100, 0)},
    "not valid yet": {"dates": (60, 100)},
    "signed by itself": {"self_signed": True},
    "signed by the other domain": {"by": "away"},
    "signed by one of the same name": {"by": "impostor"},
    "over an intermediate": {"by": "intermediate"},
    "over an intermediate without an ID": {"by": "nameless"},
    "over an intermediate of the other domain's name": {"by": "misnamed"},
    "over an expired intermediate": {"by": "expired"},
    "over one that may not sign": {"by": "lame"},
    "over a leaf": {"by": "leaf"},
    "over one that demands policies": {"by": "policies"},
    "over two intermediates": {"by": "second"},
    "the intermediates left out": {"sent": "leaf"},
    "the intermediates reversed": {"sent": "reversed"},
    "the intermediates twice": {"sent": "twice"},
    "a stray certificate": {"sent": "stray"},
    "too many certificates": {"sent": "many"},
    "bytes after the leaf": {"sent": "trailing"},
    "nothing sent": {"sent": "nothing"},
    "an empty bundle": {"bundle": "empty"},
    "no bundle": {"bundle": "none"},
    "the other domain's bundle under this name": {"bundle": "swapped"},
    "the intermediate as authority": {"bundle": "intermediate"},
}
"""What is special about a certificate, a chain or the bundles. The first dozen break no rule."""


@cache
def key(name: str) -> Any:
    """Return a key of this type, always the same within a run."""
    curves = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1(), "k256": ec.SECP256K1()}
    if name.removeprefix("away-") in curves:
        return ec.generate_private_key(curves[name.removeprefix("away-")])
    if name == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 1024 if name == "rsa1024" else 2048)


class Authorities:
    """The signers of two trust domains, good and bad, all made at `now` (UNIX seconds)."""

    def __init__(self, now: int) -> None:
        self.now = now
        self._chains: dict[str, list[bytes]] = {}
        home, away = (CertificateAuthority.root(name, now=now) for name in (HOME, AWAY))
        intermediate = home.intermediate(f"spiffe://{HOME}", now=now)
        policies = x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None)
        leaf = self._leaf(home, AGENT)
        self.signers = {
            "home": home,
            "away": away,
            "impostor": CertificateAuthority(home.certificate, new_key()),
            "intermediate": intermediate,
            "second": intermediate.intermediate("", now=now),
            "nameless": home.intermediate("", now=now),
            "misnamed": home.intermediate(f"spiffe://{AWAY}", now=now),
            "expired": home.intermediate("", now=now - 2 * DAY, days=1),
            "lame": home.intermediate("", now=now, usage=key_usage("crl_sign")),
            "leaf": CertificateAuthority.self_made(leaf.certificate, leaf.key),
            "policies": _with_extension(home, home.intermediate("", now=now), policies),
        }

    def _leaf(self, by: CertificateAuthority, *uris: str, dates: tuple[int, int] = (-60, 600), **more: Any) -> Leaf:
        return by.issue(*uris, not_before=self.now + dates[0], not_after=self.now + dates[1], **more)

    def bundles(self, kind: str = "") -> dict[str, TrustBundle]:
        """Return both domains' bundles, or what `kind` makes of them."""
        home, away = self.signers["home"], self.signers["away"]
        found = {HOME: home.bundle(HOME), AWAY: away.bundle(AWAY)}
        if kind == "empty":
            found[HOME] = TrustBundle(HOME, ())
        elif kind == "none":
            del found[HOME]
        elif kind == "swapped":
            found[HOME] = away.bundle(HOME)
        elif kind == "intermediate":
            found[HOME] = self.signers["intermediate"].bundle(HOME)
        return found

    def chain(self, name: str) -> list[bytes]:
        """Return a chain (DER) with this about it, always the same one."""
        if name not in self._chains:
            self._chains[name] = self.make([name])[0]
        return self._chains[name]

    def leaf(self, name: str) -> x509.Certificate:
        """Return the leaf of that chain."""
        return x509.load_der_x509_certificate(self.chain(name)[0])

    def make(self, names: Iterable[str]) -> tuple[list[bytes], dict[str, TrustBundle]]:
        """Return a chain (DER) and the bundles to judge it by, broken in each of these ways."""
        way: dict[str, Any] = {"uris": [AGENT], "key": "p256", "by": "home"}
        for name in names:
            way |= CERTIFICATE[name]
        signer, sent, bundle = self.signers[way.pop("by")], way.pop("sent", ""), way.pop("bundle", "")
        way["key"] = key(way["key"])
        if isinstance(way["key"], ed25519.Ed25519PrivateKey):
            way.pop("self_signed", None)
        return self._arrange(self._leaf(signer, *way.pop("uris"), **way).chain, sent), self.bundles(bundle)

    def _arrange(self, chain: list[bytes], sent: str) -> list[bytes]:
        stray = self.signers["away"].der
        return {
            "": chain,
            "leaf": chain[:1],
            "reversed": [chain[0], *reversed(chain[1:])],
            "twice": [chain[0], *chain[1:], *chain[1:]],
            "stray": [*chain, stray],
            "many": [*chain, *[stray] * 8],
            "trailing": [chain[0] + b"\0", *chain[1:]],
            "nothing": [],
        }[sent]


def _with_extension(
    by: CertificateAuthority, like: CertificateAuthority, extension: x509.ExtensionType
) -> CertificateAuthority:
    """Return `like` with one more extension, which is not critical."""
    source = like.certificate
    builder = x509.CertificateBuilder(
        source.issuer, source.subject, source.public_key(), source.serial_number,
        source.not_valid_before_utc, source.not_valid_after_utc, list(source.extensions),
    )  # fmt: skip
    certificate = builder.add_extension(extension, critical=False).sign(by.key, hashes.SHA256())
    return CertificateAuthority(certificate, like.key, (certificate, *by.below))


def signed_again(certificate: x509.Certificate, tbs: Node, by: CertificateAuthority) -> bytes:
    """Return `certificate` with the changed content `tbs`, signed by an authority with an ECDSA key."""
    assert isinstance(by.key, ec.EllipticCurvePrivateKey)
    signer = by.key
    return certificate_of(tbs.write(), certificate, lambda data: signer.sign(data, ec.ECDSA(hashes.SHA256())))


def content(certificate: x509.Certificate) -> Node:
    """Return what is signed of a certificate, to be changed."""
    return read(certificate.public_bytes(Encoding.DER)).children[0]
