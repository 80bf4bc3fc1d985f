"""The embedded authority of a trust domain: roots, signing authorities and JWT keys, and the SVIDs they vouch for.

A root's key signs only signing authorities. It is needed when one is prepared, and may be kept off the machine in
between. What is sent with an SVID is leaf and signing authority; the bundle holds the roots. `lifecycle` has the rules
by which authorities follow each other, `store` how that survives a process killed at any moment.
"""

from identity.authority.authority import Authority
from identity.authority.creation import create_trust_domain
from identity.authority.issued import AuthorityEvent, AuthorityRecord, AuthorityView, IssuedJwt, IssuedSvid
from identity.authority.settings import AuthoritySettings, UpstreamAuthority
from identity.authority.signer import (
    DEFAULT_JWT_TTL_SECONDS,
    DEFAULT_TTL_SECONDS,
    MAX_JWT_TTL_SECONDS,
    MAX_TTL_SECONDS,
)
from identity.authority.state import Kind
from identity.authority.store import authority_dir, bundle_path
from identity.authority.svid_files import key_pem, write_svid

__all__ = [
    "DEFAULT_JWT_TTL_SECONDS",
    "DEFAULT_TTL_SECONDS",
    "MAX_JWT_TTL_SECONDS",
    "MAX_TTL_SECONDS",
    "Authority",
    "AuthorityEvent",
    "AuthorityRecord",
    "AuthoritySettings",
    "AuthorityView",
    "IssuedJwt",
    "IssuedSvid",
    "Kind",
    "UpstreamAuthority",
    "authority_dir",
    "bundle_path",
    "create_trust_domain",
    "key_pem",
    "write_svid",
]
