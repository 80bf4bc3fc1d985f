"""The errors of this room, in one tree."""


class IdentityError(Exception):
    """Base of every error of `identity`. The message names the cause and the remedy."""


class SpiffeIdError(IdentityError, ValueError):
    """A text is not a SPIFFE ID or trust domain name."""


class BundleError(IdentityError):
    """A trust bundle cannot be read."""


class SealError(IdentityError):
    """A sealed file cannot be opened or written."""


class KeyManagerError(IdentityError):
    """A private key cannot be made, had or removed."""


class AuthorityError(IdentityError):
    """The embedded authority cannot do what was asked."""


class RegistryError(IdentityError):
    """The inventory of identities refuses a change."""


class EntryError(RegistryError):
    """A registration entry has a field that is not allowed."""


class ManifestError(RegistryError):
    """A declarative file of identities and entries cannot be used."""


class SvidError(IdentityError):
    """A certificate is not an acceptable X.509-SVID, or a token no acceptable JWT-SVID.

    Attributes:
        rule: stable slug of the rule it breaks.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule
