"""The one error of this package."""

from gateway.errors import ConfigError


class BundleError(ConfigError):
    """A bundle that cannot be written, read or trusted. The message names the file in it, the cause and the remedy."""
