"""The documents by which others verify what this trust domain signs: OIDC discovery, keys, and the SPIFFE bundle.

Rules: OpenID Connect Discovery 1.0, sections 3 and 4; RFC 7517; SPIFFE Trust Domain and Bundle, section 4.
"""

import json
from typing import Any

from identity.bundle import TrustBundle
from identity.errors import BundleError
from identity.fetching import FetchError, https_url
from identity.jwk import public_jwk
from identity.jws import algorithm_of

DISCOVERY_PATH = "/.well-known/openid-configuration"
KEYS_PATH = "/keys"
BUNDLE_PATH = "/bundle"


def check_issuer(issuer: str) -> str:
    """Return an issuer if its tokens and documents can agree on it: https, without a slash at the end.

    Raises:
        BundleError: it cannot be one.
    """
    try:
        https_url(issuer)
    except FetchError as error:
        raise BundleError(f"the OIDC issuer cannot be used: {error}") from error
    if issuer.endswith("/"):
        raise BundleError(f"the OIDC issuer {issuer} ends with a slash; remove it, as verifiers compare by the letter")
    return issuer


def discovery_document(issuer: str, bundle: TrustBundle) -> dict[str, Any]:
    """Return the OIDC discovery document.

    Args:
        issuer: the `iss` of JWT-SVIDs; see `check_issuer`.
        bundle: of the own trust domain.
    """
    return {
        "issuer": issuer,
        "jwks_uri": issuer + KEYS_PATH,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted({algorithm_of(key) for key in bundle.jwt_keys.values()}),
    }


def keys_document(bundle: TrustBundle) -> dict[str, Any]:
    """Return the JWT keys of a bundle as OIDC verifiers read them: with `use` and `alg`."""
    return {
        "keys": [
            {"use": "sig", "alg": algorithm_of(key), "kid": key_id, **public_jwk(key)}
            for key_id, key in bundle.jwt_keys.items()
        ]
    }


def discovery_bytes(issuer: str, bundle: TrustBundle) -> bytes:
    """Return the discovery document as it is served."""
    return _json(discovery_document(issuer, bundle))


def keys_bytes(bundle: TrustBundle) -> bytes:
    """Return the keys as they are served."""
    return _json(keys_document(bundle))


def bundle_bytes(bundle: TrustBundle) -> bytes:
    """Return the SPIFFE bundle as its endpoint serves it."""
    return bundle.to_jwks()


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode() + b"\n"
