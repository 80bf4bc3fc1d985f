"""Policy bundles in OPA's format: written the same from the same policies, signed, and read without trust."""

from gateway.authorization.bundle.errors import BundleError
from gateway.authorization.bundle.reading import read_bundle, unpack_bundle
from gateway.authorization.bundle.signatures import BundleSigner, BundleVerifier
from gateway.authorization.bundle.writing import sign_bundle, write_bundle

__all__ = [
    "BundleError",
    "BundleSigner",
    "BundleVerifier",
    "read_bundle",
    "sign_bundle",
    "unpack_bundle",
    "write_bundle",
]
