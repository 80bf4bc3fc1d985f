"""Key managers: each keeps what it made, never overwrites, and forgets on demand."""

import stat

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from identity.errors import KeyManagerError, SealError
from identity.keys import KEY_TYPES, MemoryKeyManager, SealedKeyManager
from identity.sealing import generate_seal_key, write_sealed

SEAL_KEY = generate_seal_key()


@pytest.fixture(params=["sealed", "memory"])
def manager(request, tmp_path):
    return MemoryKeyManager() if request.param == "memory" else SealedKeyManager(tmp_path / "keys", SEAL_KEY)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_key_of_each_type_is_made_and_had_again(manager, key_type):
    made = manager.generate("one", key_type)
    assert manager.private_key("one").public_key() == made.public_key()
    family, _, size = key_type.partition("-")
    if family == "ec":
        assert isinstance(made, ec.EllipticCurvePrivateKey)
        assert made.curve.name == f"sec{size}r1"
    else:
        assert isinstance(made, rsa.RSAPrivateKey)
        assert made.key_size == int(size)


def test_what_was_kept_signs_for_the_public_key_that_was_made(manager):
    public = manager.generate("one", "ec-p256").public_key()
    signature = manager.private_key("one").sign(b"data", ec.ECDSA(hashes.SHA256()))
    public.verify(signature, b"data", ec.ECDSA(hashes.SHA256()))


def test_the_ids_are_those_made_and_not_deleted(manager):
    assert manager.ids() == frozenset()
    manager.generate("one", "ec-p256")
    manager.generate("x509-2", "ec-p256")
    assert manager.ids() == {"one", "x509-2"}
    manager.delete("one")
    assert manager.ids() == {"x509-2"}
    with pytest.raises(KeyManagerError):
        manager.private_key("one")


def test_deleting_what_is_not_there_is_no_error(manager):
    manager.delete("one")
    assert manager.ids() == frozenset()


def test_a_key_is_never_overwritten(manager):
    first = manager.generate("one", "ec-p256").public_key()
    with pytest.raises(KeyManagerError, match="never overwritten"):
        manager.generate("one", "ec-p256")
    assert manager.private_key("one").public_key() == first


@pytest.mark.parametrize("key_id", ["", "A", "../root", "a/b", "a.b", "-a", "a-", "a" * 65, "a\n", "\u0661"])
def test_an_id_that_could_be_anything_but_a_name_is_refused(manager, key_id):
    with pytest.raises(KeyManagerError, match="no id of a key"):
        manager.generate(key_id, "ec-p256")


@pytest.mark.parametrize("key_type", ["", "ec-p521", "rsa-1024", "ed25519", "EC-P256"])
def test_an_unknown_type_is_refused_and_nothing_is_kept(manager, key_type):
    with pytest.raises(KeyManagerError, match="rsa-4096"):
        manager.generate("one", key_type)
    assert manager.ids() == frozenset()


def test_a_sealed_key_is_a_private_file_that_another_manager_opens_with_the_same_sealing_key(tmp_path):
    directory = tmp_path / "state" / "keys"
    public = SealedKeyManager(directory, SEAL_KEY).generate("one", "ec-p256").public_key()
    assert stat.S_IMODE((directory / "one.key.sealed").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert SealedKeyManager(directory, SEAL_KEY).private_key("one").public_key() == public
    with pytest.raises(SealError, match="sealing key is another one"):
        SealedKeyManager(directory, generate_seal_key()).private_key("one")


def test_a_sealed_key_under_another_name_does_not_open(tmp_path):
    manager = SealedKeyManager(tmp_path, SEAL_KEY)
    manager.generate("one", "ec-p256")
    (tmp_path / "one.key.sealed").rename(tmp_path / "two.key.sealed")
    with pytest.raises(SealError):
        manager.private_key("two")


def test_a_sealed_file_that_holds_no_key_of_an_authority_is_named(tmp_path):
    manager = SealedKeyManager(tmp_path, SEAL_KEY)
    write_sealed(tmp_path / "one.key.sealed", SEAL_KEY, b"no key")
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    write_sealed(tmp_path / "two.key.sealed", SEAL_KEY, other)
    for key_id in ("one", "two"):
        with pytest.raises(KeyManagerError, match=f"{key_id}.key.sealed"):
            manager.private_key(key_id)


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SealError, match="cannot be made"):
        SealedKeyManager(tmp_path / "file" / "keys", SEAL_KEY).generate("one", "ec-p256")
