"""The errors of this room, in one tree."""


class IdentityError(Exception):
    """Base of every error of `identity`. The message names the cause and the remedy."""


class SpiffeIdError(IdentityError, ValueError):
    """A text is not a SPIFFE ID or trust domain name."""


class BundleError(IdentityError):
    """A trust bundle cannot be read."""


class SealError(IdentityError):
    """A sealed file cannot be opened or written."""


class AuthorityError(IdentityError):
    """The embedded authority cannot do what was asked."""


class RegistryError(IdentityError):
    """The inventory of identities refuses a change."""


class SvidError(IdentityError):
    """A certificate is not an acceptable X.509-SVID.

    Attributes:
        rule: stable slug of the rule it breaks.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule
