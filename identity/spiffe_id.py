"""SPIFFE IDs and trust domain names, parsed by the letter of the specification.

Rules: SPIFFE-ID specification, sections 2.1 to 2.4.
"""

import re
from dataclasses import dataclass

from identity.errors import SpiffeIdError

__all__ = ["SpiffeId", "SpiffeIdError", "TrustDomain"]

MAX_ID_BYTES = 2048
MAX_TRUST_DOMAIN_BYTES = 255

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class TrustDomain:
    """The name of a trust domain, for instance `example.org`.

    Raises:
        SpiffeIdError: not 1 to 255 of the characters a-z, 0-9, dot, dash and underscore.
    """

    name: str

    def __post_init__(self) -> None:
        if not _TRUST_DOMAIN.fullmatch(self.name):
            raise SpiffeIdError(
                f"{self.name!r} is not a trust domain: use 1 to {MAX_TRUST_DOMAIN_BYTES} of a-z, 0-9, '.', '-', '_'"
            )

    def id(self, path: str = "") -> "SpiffeId":
        """Return the SPIFFE ID of this domain with `path` (empty, or beginning with a slash)."""
        return SpiffeId(self, path)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A SPIFFE ID.

    Attributes:
        trust_domain: the domain that vouches for it.
        path: empty for the domain itself, else beginning with a slash; case-sensitive.

    Raises:
        SpiffeIdError: the path breaks a rule, or the whole is longer than 2048 bytes.
    """

    trust_domain: TrustDomain
    path: str = ""

    def __post_init__(self) -> None:
        if self.path:
            _check_path(self.path)
        if len(str(self)) > MAX_ID_BYTES:
            raise SpiffeIdError(f"a SPIFFE ID has at most {MAX_ID_BYTES} bytes, this one has {len(str(self))}")

    @classmethod
    def parse(cls, text: str) -> "SpiffeId":
        """Parse `spiffe://trust-domain/path`. Scheme and trust domain may be in any letter case.

        Raises:
            SpiffeIdError: names the rule that is broken.
        """
        if len(text) > MAX_ID_BYTES:
            raise SpiffeIdError(f"a SPIFFE ID has at most {MAX_ID_BYTES} bytes, this one has {len(text)}")
        if text[:9].lower() != "spiffe://":
            raise SpiffeIdError(f"{text[:80]!r} does not begin with 'spiffe://'")
        rest = text[9:]
        name, slash, path = rest.partition("/")
        if not name.isascii():
            raise SpiffeIdError(f"{text[:80]!r}: the trust domain has a character that is not ASCII")
        return cls(TrustDomain(name.lower()), slash + path)

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain.name}{self.path}"


def _check_path(path: str) -> None:
    if not path.startswith("/"):
        raise SpiffeIdError(f"the path {path!r} does not begin with a slash")
    if path.endswith("/"):
        raise SpiffeIdError(f"the path {path!r} ends with a slash")
    for segment in path[1:].split("/"):
        if not segment:
            raise SpiffeIdError(f"the path {path!r} has an empty segment")
        if segment in {".", ".."}:
            raise SpiffeIdError(f"the path {path!r} has the relative segment {segment!r}")
        if not _SEGMENT.fullmatch(segment):
            raise SpiffeIdError(f"the path segment {segment!r} has a character other than A-Z a-z 0-9 . - _")
