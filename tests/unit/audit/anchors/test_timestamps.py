"""Time stamps: what is believed of an authority, and what is not."""

import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from audit.anchors.errors import AnchorError, TimestampError
from audit.anchors.timestamps import TimestampAuthority, load_roots, verify_timestamp
from tests.support.answering_server import Answered, answering
from tests.support.certificates import CertificateAuthority, new_key
from tests.support.timestamp_authority import StampingAuthority, signer_certificate

NOW = int(time.time())
NOTE = b"example.org/audit\n1\nAAAA\n\nsigned\n"
SHA384 = "2.16.840.1.101.3.4.2.2"


@pytest.fixture(scope="module")
def root():
    return CertificateAuthority.root("stamps.test", now=NOW, days=4000)


@pytest.fixture
def authority(root):
    return StampingAuthority(*signer_certificate(root, NOW), lambda: NOW)


@pytest.fixture
def asked(authority, root):
    """A client of an authority that a test may spoil."""
    with answering(lambda request: Answered(authority.answer(request.body))) as server:
        client = TimestampAuthority(server.url, [root.certificate], timeout=10)
        yield client
        client.close()
        assert all(each.headers["content-type"] == "application/timestamp-query" for each in server.requests)


def test_a_stamp_is_verified_when_it_comes_and_again_without_the_authority(asked, root):
    stamp = verify_timestamp(asked.stamp(NOTE), NOTE, [root.certificate])
    assert stamp.time_ns == NOW * 1_000_000_000
    assert stamp.accuracy_us == 1_005_000
    assert (stamp.serial, stamp.policy, stamp.authority) == (4711, "1.2.3.4.1", "CN=time stamps of a test")


def test_only_the_digest_leaves_the_house(authority, root):
    seen = []

    def answer(request):
        seen.append(request.body)
        return Answered(authority.answer(request.body))

    with answering(answer) as server:
        client = TimestampAuthority(server.url, [root.certificate], timeout=10)
        client.stamp(NOTE)
        client.stamp(NOTE)
        client.close()
    assert NOTE not in b"".join(seen)
    assert seen[0] != seen[1], "each request has a nonce of its own"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"digest": b"\1" * 32}, "of something else"),
        ({"hash_algorithm": SHA384}, "of something else"),
        ({"nonce": 5}, "Nonce"),
        ({"status": 1}, "granted with mods"),
        ({"status": 2}, r"not granted \(rejection\): 'not today'"),
        ({"status": 5}, "revocation notification"),
        ({"status": 77}, "status 77"),
        ({"sign_with": new_key()}, "does not verify"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_refused(asked, authority, spoil, message):
    for name, value in spoil.items():
        setattr(authority, name, value)
    with pytest.raises(TimestampError, match=message):
        asked.stamp(NOTE)


def test_a_stamp_of_another_checkpoint_is_refused_offline(asked, root):
    response = asked.stamp(NOTE)
    with pytest.raises(TimestampError, match="of something else"):
        verify_timestamp(response, NOTE + b"more\n", [root.certificate])


def test_an_authority_below_another_root_is_refused(asked, root):
    response = asked.stamp(NOTE)
    stranger = CertificateAuthority.root("stamps.test", now=NOW)
    with pytest.raises(TimestampError, match="does not verify"):
        verify_timestamp(response, NOTE, [stranger.certificate])


@pytest.mark.parametrize(
    "certificate",
    [{"usage": ExtendedKeyUsageOID.SERVER_AUTH}, {"critical": False}],
    ids=["of a web server", "that need not be heeded"],
)
def test_a_certificate_that_is_not_for_time_stamps_is_refused(asked, authority, root, certificate):
    authority.certificate, authority.key = signer_certificate(root, NOW, **certificate)
    with pytest.raises(TimestampError, match="does not verify"):
        asked.stamp(NOTE)


def test_a_stamp_stays_good_when_its_certificate_has_expired_since(root):
    then = NOW - 40 * 86_400
    older_root = CertificateAuthority.root("stamps.test", now=then, days=30)
    authority = StampingAuthority(*signer_certificate(older_root, then), lambda: then)
    with answering(lambda request: Answered(authority.answer(request.body))) as server:
        client = TimestampAuthority(server.url, [older_root.certificate], timeout=10)
        response = client.stamp(NOTE)
        assert verify_timestamp(response, NOTE, [older_root.certificate]).time_ns == then * 1_000_000_000
        authority.clock = lambda: then + 20 * 86_400
        with pytest.raises(TimestampError, match="does not verify"):
            client.stamp(NOTE)
        client.close()


def test_no_bit_can_be_changed_so_that_a_stamp_says_something_else(authority, root):
    with answering(lambda request: Answered(authority.answer(request.body))) as server:
        client = TimestampAuthority(server.url, [root.certificate], timeout=10)
        response = client.stamp(NOTE)
        client.close()
    true = verify_timestamp(response, NOTE, [root.certificate])
    refused = 0
    for place in range(len(response)):
        changed = bytearray(response)
        changed[place] ^= 1
        try:
            assert verify_timestamp(bytes(changed), NOTE, [root.certificate]) == true
        except TimestampError:
            refused += 1
    assert refused > 0.9 * len(response), "what nobody signs, such as the names of algorithms, may change"


@pytest.mark.parametrize("body", [b"", b"<html>", b"\x30\x03\x02\x01\x00", bytes(70_000)], ids=len)
def test_what_is_no_answer_of_an_authority_is_refused(root, body):
    with pytest.raises(TimestampError):
        verify_timestamp(body, NOTE, [root.certificate])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answered(b"no", 503), "HTTP status 503"),
        (Answered(b"", 302, {"location": "http://127.0.0.1:1/"}), "HTTP status 302"),
        (Answered(bytes(70_000)), "more than 65,536 bytes"),
        (Answered(b"half", whole=False), "cannot be reached"),
    ],
)
def test_a_server_that_misbehaves_is_named(root, answer, message):
    with answering(lambda _: answer) as server:
        client = TimestampAuthority(server.url, [root.certificate], timeout=10)
        with pytest.raises(AnchorError, match=message) as caught:
            client.stamp(NOTE)
        client.close()
    assert server.url in str(caught.value)


def test_an_authority_that_is_away_is_named(root):
    client = TimestampAuthority("http://127.0.0.1:1", [root.certificate], timeout=2)
    with pytest.raises(AnchorError, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        client.stamp(NOTE)
    client.close()


def test_settings_that_cannot_work_are_refused_at_once(root, tmp_path):
    with pytest.raises(AnchorError, match="needs an http or https URL"):
        TimestampAuthority("ftp://stamps.example", [root.certificate], timeout=1)
    with pytest.raises(AnchorError, match="no root certificate"):
        TimestampAuthority("https://stamps.example", [], timeout=1)
    with pytest.raises(AnchorError, match="has no root certificates"):
        load_roots(tmp_path / "gone.pem")
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(AnchorError, match="has no root certificates"):
        load_roots(tmp_path / "empty.pem")
    (tmp_path / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    assert load_roots(tmp_path / "root.pem") == [root.certificate]
