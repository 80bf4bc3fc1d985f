"""An X.509-SVID as files for a workload that reads files."""

from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from identity.authority.issued import IssuedSvid
from identity.bundle import TrustBundle
from identity.errors import AuthorityError
from identity.keys import PrivateKey
from identity.sealing import write_private


def write_svid(directory: Path, svid: IssuedSvid, key: PrivateKey, bundle: TrustBundle) -> None:
    """Write svid.pem, svid.key (mode 0600), bundle.pem and bundle.jwks, each whole or not at all.

    Raises:
        AuthorityError: the directory cannot be made.
        SealError: a file cannot be written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AuthorityError(f"{directory} cannot be made: {error.strerror}") from error
    write_private(directory / "svid.key", key_pem(key))
    write_private(directory / "svid.pem", svid.chain_pem, mode=0o644)
    write_private(directory / "bundle.pem", bundle.to_pem(), mode=0o644)
    write_private(directory / "bundle.jwks", bundle.to_jwks(), mode=0o644)


def key_pem(key: PrivateKey) -> bytes:
    """Return a private key as PKCS #8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
