"""The manifest as the subject of an in-toto Statement v1, in a DSSE envelope that the key of evidence signs."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from audit.canonical import canonical
from compliance.package.output import WrittenFile

MANIFEST = "manifest.json"
ENVELOPE = "manifest.dsse.json"
TIMESTAMP = "manifest.dsse.json.tsr"

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:govgateway:evidence:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def manifest(files: Iterable[WrittenFile]) -> bytes:
    """Return the manifest of a package: canonical JSON (RFC 8785), by path."""
    entries = [
        {"media_type": each.media_type, "path": each.path, "sha256": each.sha256, "size": each.size}
        for each in sorted(files, key=lambda each: each.path)
    ]
    return canonical({"files": entries, "format": "govgateway-evidence", "version": 1})


def statement(manifest_sha256: str, predicate: Mapping[str, Any]) -> bytes:
    """Return the statement that a manifest is that of the evidence that the predicate names."""
    return canonical(
        {
            "_type": STATEMENT_TYPE,
            "predicate": dict(predicate),
            "predicateType": PREDICATE_TYPE,
            "subject": [{"digest": {"sha256": manifest_sha256}, "name": MANIFEST}],
        }
    )


def pae(payload: bytes) -> bytes:
    """Return what is signed of a payload (DSSE 1.0, pre-authentication encoding)."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the fingerprint of a public key: SHA-256 of its SubjectPublicKeyInfo (hex)."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def public_pem(key: Ed25519PublicKey) -> str:
    """Return a public key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def envelope(payload: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return a signed envelope. The same payload and key give the same bytes."""
    signature = {
        "keyid": fingerprint(key.public_key()),
        "sig": b64encode(key.sign(pae(payload))).decode(),
    }
    return canonical({"payload": b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": [signature]})
