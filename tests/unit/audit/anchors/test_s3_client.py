"""What our S3 client makes of stores that answer wrongly."""

import pytest

from audit.anchors.errors import AnchorError
from audit.anchors.s3 import Bucket, S3ObjectStore
from audit.anchors.sigv4 import Credentials
from tests.support.answering_server import Answered, answering

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def open_store(url):
    return S3ObjectStore(Bucket(url, "kept"), lambda: Credentials("a", "b", "eu-west-1", "s3"), timeout=10)


def asked(answer, ask):
    """Return what `ask` raises against a store that always answers so."""
    with answering(lambda _: answer) as server:
        store = open_store(server.url)
        with pytest.raises(AnchorError) as caught:
            ask(store)
        store.close()
    return str(caught.value)


def page(versions, *, truncated=False, marker=""):
    rest = f"<IsTruncated>{str(truncated).lower()}</IsTruncated>"
    if truncated:
        rest += f"<NextKeyMarker>{marker}</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker>"
    return Answered(f"<ListVersionsResult {NAMESPACE}>{versions}{rest}</ListVersionsResult>".encode())


def test_a_store_without_versions_keeps_nothing():
    assert "keeps no versions" in asked(Answered(), lambda store: store.put("key", b"data", None))


def test_what_is_refused_is_said_with_the_stores_own_code():
    denied = Answered(b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>", 403)
    assert "takes key not: 403 AccessDenied" in asked(denied, lambda store: store.put("key", b"data", 1))
    assert "does not give key: 403 AccessDenied" in asked(denied, lambda store: store.get("key", "v"))
    assert "s3:PutObjectRetention" in asked(denied, lambda store: store.check())
    assert "how key is locked: 403" in asked(Answered(status=403), lambda store: store.retention("key", "v"))


def test_a_redirect_is_not_followed():
    moved = Answered(b"<Error><Code>PermanentRedirect</Code></Error>", 301, {"location": "https://elsewhere.example/"})
    assert "301 PermanentRedirect" in asked(moved, lambda store: store.get("key", "v"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type declaration"),
        ('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><a/>'.encode("utf-16"), "something else than S3"),
        (b"<html>", "something else than S3"),
        (b"\xff\xfe", "something else than S3"),
        (bytes(5 << 20), "more than 4,194,304 bytes"),
        (page("<Version><Key>a</Key><Size>x</Size></Version>").body, "cannot be read"),
        (page("<Version><Key>a</Key><LastModified>soon</LastModified></Version>").body, "cannot be read"),
        (page("", truncated=True, marker="").body, "again and again"),
        (page("", truncated=True, marker="a").body, "again and again"),
    ],
    ids=range(9),
)
def test_a_list_that_makes_no_sense_is_refused(body, message):
    assert message in asked(Answered(body), lambda store: list(store.list("")))


def test_a_lock_with_a_date_that_is_none_is_refused():
    headers = {"x-amz-object-lock-mode": "COMPLIANCE", "x-amz-object-lock-retain-until-date": "forever"}
    assert "'forever' for a date" in asked(Answered(headers=headers), lambda store: store.retention("key", "v"))


@pytest.mark.parametrize(
    "endpoint", ["http://s3.example", "ftp://127.0.0.2x", "s3.example", "http://localhost.example"]
)
def test_an_endpoint_without_tls_is_refused(endpoint):
    with pytest.raises(AnchorError, match="https endpoint"):
        open_store(endpoint)


def test_credentials_are_asked_for_at_each_request():
    with answering(lambda _: Answered(headers={"x-amz-version-id": "v"})) as server:
        names = iter("ab")
        store = S3ObjectStore(
            Bucket(server.url, "kept"), lambda: Credentials(next(names), "x", "eu-west-1", "s3"), timeout=10
        )
        store.put("one", b"1", None)
        store.put("two", b"2", 1_800_000_000)
        store.close()
    one, two = (each.headers for each in server.requests)
    assert "Credential=a/" in one["authorization"]
    assert "Credential=b/" in two["authorization"]
    assert "x-amz-object-lock-mode" not in one
    assert two["x-amz-object-lock-retain-until-date"] == "2027-01-15T08:00:00Z"
    assert "x-amz-object-lock-retain-until-date" in two["authorization"]
