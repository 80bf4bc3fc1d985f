import secrets
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.sealing import EmbeddedKeyWrapper, SealBrokenError, commitment, pseudonym, subkey
from audit.sealing.envelope import Place, SealedItem, seal, unseal

PLACE = Place("example.org/audit", "018f0000-0000-7000-8000-000000000000", "request", "ab" * 32, ("k1",))
KEY = secrets.token_bytes(32)


@given(content=st.binary(max_size=2000))
def test_what_is_sealed_opens_to_the_same_content(content: bytes) -> None:
    opened = unseal([KEY], PLACE, seal([KEY], PLACE, content))
    assert opened.content == content
    assert commitment(opened.salt, PLACE, content) == opened.commitment


@given(where=st.integers(min_value=0), flip=st.integers(1, 255))
def test_any_changed_byte_is_refused(where: int, flip: int) -> None:
    item = seal([KEY], PLACE, b"a short prompt")
    blob = bytearray(item.blob)
    blob[where % len(blob)] ^= flip
    with pytest.raises(SealBrokenError):
        unseal([KEY], PLACE, replace(item, blob=bytes(blob)))


@given(length=st.integers(0, 200))
def test_a_truncated_item_is_refused(length: int) -> None:
    item = seal([KEY], PLACE, b"x" * 300)
    with pytest.raises(SealBrokenError):
        unseal([KEY], PLACE, replace(item, blob=item.blob[:length]))


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(PLACE, log="example.org/other"),
        replace(PLACE, event_id="018f0000-0000-7000-8000-000000000001"),
        replace(PLACE, part="response"),
        replace(PLACE, subject="cd" * 32),
        replace(PLACE, keys=("k2",)),
    ],
)
def test_an_item_does_not_open_in_another_place(elsewhere: Place) -> None:
    item = seal([KEY], PLACE, b"prompt")
    with pytest.raises(SealBrokenError, match="does not open"):
        unseal([KEY], elsewhere, item)


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(SealBrokenError):
        unseal([secrets.token_bytes(32)], PLACE, seal([KEY], PLACE, b"prompt"))


def test_under_two_keys_neither_alone_opens_it() -> None:
    case_key = secrets.token_bytes(32)
    item = seal([KEY, case_key], PLACE, b"prompt")
    assert unseal([KEY, case_key], PLACE, item).content == b"prompt"
    for keys in ([KEY], [case_key], [case_key, KEY], [KEY, bytes(32)]):
        with pytest.raises(SealBrokenError):
            unseal(keys, PLACE, item)


def test_content_that_was_not_committed_to_is_refused() -> None:
    item = seal([KEY], PLACE, b"prompt")
    with pytest.raises(SealBrokenError, match="committed"):
        unseal([KEY], PLACE, SealedItem(item.seed, item.blob, "0" * 64))


def test_the_same_content_never_gives_the_same_commitment_or_ciphertext() -> None:
    first, second = seal([KEY], PLACE, b"yes"), seal([KEY], PLACE, b"yes")
    assert first.commitment != second.commitment
    assert first.blob != second.blob


def test_a_guess_cannot_be_tried_with_what_lies_in_the_store() -> None:
    item = seal([KEY], PLACE, b"yes")
    for readable in (item.seed, item.blob[1:13], item.blob[13:45], item.blob[-32:]):
        assert commitment(readable, PLACE, b"yes") != item.commitment


def test_a_pseudonym_is_the_same_for_the_same_name_and_key_only() -> None:
    key = secrets.token_bytes(32)
    assert pseudonym(key, "subject", "Zoë") == pseudonym(key, "subject", "Zoe\u0308")
    assert pseudonym(key, "subject", "x") != pseudonym(key, "case", "x")
    assert pseudonym(key, "subject", "x") != pseudonym(secrets.token_bytes(32), "subject", "x")


def test_a_wrapped_key_opens_with_its_wrapper_purpose_and_context_only() -> None:
    master, data_key = secrets.token_bytes(32), secrets.token_bytes(32)
    wrapper = EmbeddedKeyWrapper(master, "content")
    wrapped = wrapper.wrap(data_key, b"context")
    assert wrapper.unwrap(wrapped, b"context") == data_key
    others = [
        (EmbeddedKeyWrapper(secrets.token_bytes(32), "content"), wrapped, b"context"),
        (EmbeddedKeyWrapper(master, "other"), wrapped, b"context"),
        (wrapper, wrapped, b"elsewhere"),
        (wrapper, wrapped[:-1], b"context"),
        (wrapper, wrapped[:20], b"context"),
        (wrapper, b"", b"context"),
        (wrapper, wrapped[:-1] + bytes([wrapped[-1] ^ 1]), b"context"),
    ]
    for each, blob, context in others:
        with pytest.raises(SealBrokenError):
            each.unwrap(blob, context)


def test_a_wrapping_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        subkey(b"short", "content")
