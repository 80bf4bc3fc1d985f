"""The signature of a bundle, in OPA's format: one JWT over the digest of every file.

Rules: www.openpolicyagent.org, bundle signature format; RFC 7515, section 5.2. Verification names its keys itself:
whatever a signature says or leaves out, one of the configured keys must have made it (GHSA-g2pf-6v5v-qcc8).
"""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.authorization.bundle import file_hash
from gateway.authorization.bundle.errors import BundleError
from gateway.authorization.bundle.keys import (
    ALGORITHMS,
    VerificationKey,
    load_signing_key,
    load_verification_key,
    sign,
    signature_algorithm,
    verifies,
)
from gateway.authorization.bundle.names import SIGNATURES
from identity.jwk import decode, encode
from identity.strict_json import parse_object

_OWN_PLUGIN = "_default"
"""What OPA calls the format of signatures that this is."""

_TIME_CLAIMS = ("exp", "nbf")


class BundleSigner:
    """Signs bundles with one key.

    Args:
        key_pem: the private key: EC P-256, P-384 or P-521, or Ed25519 (PEM, PKCS #8 or SEC 1).
        key_id: the name by which verifiers know the key.

    Raises:
        BundleError: the key cannot be used, or has no name.
    """

    def __init__(self, key_pem: bytes, key_id: str) -> None:
        if not key_id:
            raise BundleError("A signing key needs a key id; verifiers find the public key by it.")
        self._key = load_signing_key(key_pem)
        self.key_id = key_id
        self.algorithm = signature_algorithm(self._key)

    def signatures(self, files: Mapping[str, bytes]) -> bytes:
        """Return the content of `.signatures.json` for these files, by name.

        Raises:
            BundleError: a document among them has no digest.
        """
        entries = [
            {"name": name, "hash": file_hash.digest(name, content, "SHA-256"), "algorithm": "SHA-256"}
            for name, content in sorted(files.items())
            if name != SIGNATURES
        ]
        header = {"alg": self.algorithm, "kid": self.key_id, "typ": "JWT"}
        # Old releases of OPA find the key by the claim, new ones by the header.
        signed = f"{_part(header)}.{_part({'files': entries, 'keyid': self.key_id})}"
        token = f"{signed}.{encode(sign(self._key, signed.encode()))}"
        return orjson.dumps({"signatures": [token]}, option=orjson.OPT_INDENT_2) + b"\n"


class BundleVerifier:
    """Verifies that one of its keys signed a bundle, and every file of it.

    Args:
        keys: public keys (PEM) by key id.
        scope: what the signature's scope must be.

    Raises:
        BundleError: without a key, or with one that cannot be used.
    """

    def __init__(self, keys: Mapping[str, bytes], scope: str = "") -> None:
        if not keys or "" in keys:
            raise BundleError("To verify bundles, give at least one public key, each with a key id.")
        self._keys = {name: load_verification_key(name, pem) for name, pem in keys.items()}
        self._scope = scope

    def verify(self, files: Mapping[str, bytes]) -> str:
        """Verify the files of a bundle, by normal name, and return the id of the key that signed them.

        Raises:
            BundleError: no signature, of none of these keys, by a weak algorithm; a file is extra, missing or changed.
        """
        key_id, payload = self._payload(_token(files.get(SIGNATURES)))
        listed = _listed(payload)
        for name, content in files.items():
            if name == SIGNATURES:
                continue
            if name not in listed:
                raise BundleError(f"{name} is not covered by the signature; sign the bundle again, or drop the file")
            algorithm, expected = listed.pop(name)
            if file_hash.digest(name, content, algorithm) != expected:
                raise BundleError(f"{name} was changed after the bundle was signed; its {algorithm} digest differs")
        if listed:
            raise BundleError(f"{', '.join(sorted(listed)[:5])}: signed, but not in the bundle")
        return key_id

    def _payload(self, token: str) -> tuple[str, dict[str, Any]]:
        """Return who signed a token, and its claims."""
        parts = token.split(".")
        try:
            if len(parts) != 3:
                raise ValueError("it has not three parts")  # noqa: TRY301 - one message for each fault of the form
            header, claims = parse_object(decode(parts[0])), parse_object(decode(parts[1]))
            signature = decode(parts[2])
        except ValueError as error:
            raise BundleError(f"{SIGNATURES}: the signature is no compact JWT: {error}") from None
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise BundleError(f"{SIGNATURES}: the algorithm {algorithm!r} is not accepted; use {', '.join(ALGORITHMS)}")
        if "crit" in header:
            raise BundleError(f"{SIGNATURES}: the signature has critical headers, which are not known here")
        signed = f"{parts[0]}.{parts[1]}".encode()
        candidates = self._candidates(header.get("kid", ""), claims.get("keyid", ""))
        signers = [name for name, key in candidates.items() if verifies(key, algorithm, signed, signature)]
        if not signers:
            tried = ", ".join(sorted(candidates))
            raise BundleError(f"{SIGNATURES}: the signature ({algorithm}) was not made with the key {tried}")
        if claims.get("scope", "") != self._scope:
            raise BundleError(
                f"{SIGNATURES}: the signature is for the scope {claims.get('scope')!r}, not {self._scope!r}"
            )
        for claim in _TIME_CLAIMS:
            if claim in claims:
                raise BundleError(f"{SIGNATURES}: the claim {claim!r} is not enforced by OPA; sign without it")
        return signers[0], claims

    def _candidates(self, in_header: object, in_claims: object) -> Mapping[str, VerificationKey]:
        """Return the keys that may have signed: the one that is named, else all of them."""
        named = [name for name in (in_header, in_claims) if name != ""]
        if len(named) == 2 and in_header != in_claims:
            raise BundleError(f"{SIGNATURES}: header and claims name different keys: {in_header!r}, {in_claims!r}")
        if not named:
            return self._keys
        key_id = named[0]
        key = self._keys.get(key_id) if isinstance(key_id, str) else None
        if key is None or not isinstance(key_id, str):
            known = ", ".join(sorted(self._keys))
            raise BundleError(f"{SIGNATURES}: the key {key_id!r} is unknown; known are {known}")
        return {key_id: key}


def _token(content: bytes | None) -> str:
    if content is None:
        raise BundleError(f"it has no signature ({SIGNATURES}); sign it with: govctl policy sign")
    try:
        document = parse_object(content)
    except ValueError as error:
        raise BundleError(f"{SIGNATURES} is not strict JSON: {error}") from None
    tokens = document.get("signatures")
    if document.get("plugin", _OWN_PLUGIN) not in ("", _OWN_PLUGIN):
        raise BundleError(f"{SIGNATURES}: the signature is of the plugin {document['plugin']!r}, which is unknown here")
    if set(document) - {"signatures", "plugin"} or not isinstance(tokens, list):
        raise BundleError(f'{SIGNATURES} is not of the form {{"signatures": ["…"]}}')
    if len(tokens) != 1 or not isinstance(tokens[0], str):
        raise BundleError(f"{SIGNATURES} holds {len(tokens)} signatures; it must hold one JWT")
    return tokens[0]


def _listed(payload: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the algorithm and digest of each file that the signature covers."""
    entries = payload.get("files")
    if not isinstance(entries, list):
        raise BundleError(f"{SIGNATURES}: the signature lists no files")
    listed: dict[str, tuple[str, str]] = {}
    for entry in entries:
        members = entry if isinstance(entry, dict) else {}
        name, digest, algorithm = (members.get(key) for key in ("name", "hash", "algorithm"))
        if not isinstance(name, str) or not isinstance(digest, str) or not isinstance(algorithm, str):
            raise BundleError(f"{SIGNATURES}: an entry has not the form name, hash, algorithm: {entry!r}")
        if algorithm not in file_hash.ALGORITHMS:
            accepted = ", ".join(file_hash.ALGORITHMS)
            raise BundleError(f"{SIGNATURES}: {name} has a digest by {algorithm!r}; accepted are {accepted}")
        if name in listed:
            raise BundleError(f"{SIGNATURES}: {name} is listed twice")
        listed[name] = (algorithm, digest.lower())
    return listed


def _part(value: Mapping[str, Any]) -> str:
    return encode(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
