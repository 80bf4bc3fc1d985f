"""What can go wrong with sealed content."""

from audit.errors import AuditError


class SealingError(AuditError):
    """Base of the errors of sealed content."""


class SealingUnavailableError(SealingError):
    """Content cannot be sealed now, so the call that it belongs to must not go on."""


class SealBrokenError(SealingError):
    """A sealed item or a wrapped key does not open: another key, another place, or it was changed or cut short."""


class ContentErasedError(SealingError):
    """The key of the content was destroyed: the content is rendered inaccessible, for everybody and for good."""


class ContentMissingError(SealingError):
    """Nothing is sealed under this name."""


class AccessRefusedError(SealingError):
    """This person may not open this content, or not in this way."""


class ErasureHeldError(SealingError):
    """A legal hold keeps what was to be erased."""


class KeyGoneError(SealingError):
    """A data key was destroyed while content was being sealed under it."""
