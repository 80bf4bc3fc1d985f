"""Sealed blobs open only unchanged, with their key and for their purpose; files are private and written whole."""

import base64
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import SealError
from identity.sealing import (
    KEY_BYTES,
    decode_seal_key,
    generate_seal_key,
    read_private,
    read_sealed,
    seal,
    unseal,
    write_private,
    write_sealed,
)

KEY = generate_seal_key()


@given(st.binary(max_size=200), st.text(max_size=20))
def test_what_was_sealed_opens_with_its_key_and_purpose(plaintext, purpose):
    assert unseal(KEY, purpose, seal(KEY, purpose, plaintext)) == plaintext


def test_sealing_twice_gives_two_blobs_and_neither_shows_the_content():
    first, second = seal(KEY, "p", b"the content"), seal(KEY, "p", b"the content")
    assert first != second
    assert b"content" not in first


@given(st.data())
def test_a_blob_with_any_bit_changed_does_not_open(data):
    blob = bytearray(seal(KEY, "p", b"the content"))
    bit = data.draw(st.integers(0, len(blob) * 8 - 1))
    blob[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealError):
        unseal(KEY, "p", bytes(blob))


@given(st.data())
def test_a_blob_cut_short_or_continued_does_not_open(data):
    blob = seal(KEY, "p", b"the content")
    changed = data.draw(
        st.one_of(
            st.integers(0, len(blob) - 1).map(lambda length: blob[:length]),
            st.binary(min_size=1, max_size=20).map(lambda more: blob + more),
        )
    )
    with pytest.raises(SealError):
        unseal(KEY, "p", changed)


def test_another_key_or_another_purpose_does_not_open_it():
    blob = seal(KEY, "root", b"the content")
    with pytest.raises(SealError, match="sealing key is another one, or the file was changed"):
        unseal(generate_seal_key(), "root", blob)
    with pytest.raises(SealError):
        unseal(KEY, "signing", blob)


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_a_key_of_another_length_is_refused_both_ways(length):
    with pytest.raises(SealError, match="32 bytes"):
        seal(b"k" * length, "p", b"the content")
    with pytest.raises(SealError, match="32 bytes"):
        unseal(b"k" * length, "p", seal(KEY, "p", b"the content"))


def test_a_key_is_32_random_bytes_and_is_read_from_base64():
    assert len(KEY) == KEY_BYTES
    assert generate_seal_key() != KEY
    assert decode_seal_key(base64.b64encode(KEY) + b"\n") == KEY


@pytest.mark.parametrize("text", [b"", b"x", b"*" * 44, base64.b64encode(b"k" * 31), base64.b64encode(b"k" * 33)])
def test_a_text_that_is_no_key_is_refused_without_repeating_it(text):
    with pytest.raises(SealError, match="base64 of 32 bytes") as caught:
        decode_seal_key(text)
    assert not text or text == b"x" or text.decode() not in str(caught.value)


def test_a_sealed_file_is_private_and_opens_again(tmp_path):
    path = tmp_path / "root.key.sealed"
    write_sealed(path, KEY, b"the content")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_sealed(path, KEY) == b"the content"
    assert [each.name for each in tmp_path.iterdir()] == ["root.key.sealed"]


def test_a_sealed_file_put_in_the_place_of_another_does_not_open(tmp_path):
    write_sealed(tmp_path / "signing.key.sealed", KEY, b"the content")
    (tmp_path / "signing.key.sealed").rename(tmp_path / "root.key.sealed")
    with pytest.raises(SealError, match=r"root\.key\.sealed"):
        read_sealed(tmp_path / "root.key.sealed", KEY)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777])
def test_a_file_open_to_group_or_others_is_not_read_and_the_message_says_what_to_do(tmp_path, mode):
    path = tmp_path / "key"
    write_private(path, b"the content")
    path.chmod(mode)
    with pytest.raises(SealError, match=f"chmod 600 {path}"):
        read_private(path)
    path.chmod(0o600)
    assert read_private(path) == b"the content"


def test_a_missing_file_and_a_directory_are_refused_by_name(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(SealError, match=str(path)):
            read_sealed(path, KEY)


def test_a_file_is_replaced_whole_whatever_its_mode_was(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"a much longer content that was here before")
    path.chmod(0o644)
    write_private(path, b"new")
    assert read_private(path) == b"new"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    occupied = tmp_path / "key"
    occupied.mkdir()
    (occupied / "inside").touch()
    with pytest.raises(SealError, match="cannot be written"):
        write_private(occupied, b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["key"]
    with pytest.raises(SealError, match="cannot be written"):
        write_private(tmp_path / "no" / "such" / "directory", b"new")
