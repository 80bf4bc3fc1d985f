"""Copies of the log in S3 with object lock: boto3 looks at what our own client has put there."""

import secrets
import time

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.anchors.checking import check_copies
from audit.anchors.copying import LogCopier
from audit.anchors.errors import AnchorContradictsError, AnchorError
from audit.anchors.s3 import Bucket, S3ObjectStore
from audit.anchors.sigv4 import Credentials
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.merkle import leaf_hash
from audit.tlog.note import Ed25519Signer, parse_verifier_key, sign_note
from audit.tlog.tiles import DirectoryTiles, TileTree
from tests.support.object_store import REGION, s3_server

ORIGIN = "example.org/audit"
DAY = 86_400


@pytest.fixture(scope="module")
def server():
    with s3_server() as running:
        yield running


@pytest.fixture
def bucket(server):
    name = f"audit-{secrets.token_hex(4)}"
    server.make_bucket(name)
    server.requests.clear()
    return name


@pytest.fixture
def judge(server):
    client = server.client()
    yield client
    client.close()


def open_store(server, bucket, mode="COMPLIANCE"):
    return S3ObjectStore(
        Bucket(server.url, bucket, mode),
        lambda: Credentials("copier", "copier-secret", REGION, "s3"),
        timeout=10,
    )


@pytest.fixture
def store(server, bucket):
    opened = open_store(server, bucket)
    yield opened
    opened.close()


class Log:
    """A log that grows in a directory."""

    def __init__(self, directory, key=None, salt=b""):
        self.storage = DirectoryTiles(directory / "tree")
        self.tree = TileTree(self.storage, 0)
        self.signer = Ed25519Signer(ORIGIN, key or Ed25519PrivateKey.generate())
        self.keys = [parse_verifier_key(self.signer.verifier_key)]
        self.salt = salt

    def grow(self, count):
        self.tree.append([leaf_hash(self.salt + b"%d" % n) for n in range(self.tree.size, self.tree.size + count)])
        return sign_note(Checkpoint(ORIGIN, self.tree.size, self.tree.root()).to_text(), [self.signer])

    def copier(self, objects, directory, *, clock=lambda: int(time.time())):
        return LogCopier(
            objects, self.storage, directory / "copy.cursor", prefix="gateway-1/", retention_seconds=30 * DAY,
            clock=clock,
        )  # fmt: skip


@pytest.mark.parametrize("mode", ["COMPLIANCE", "GOVERNANCE"])
def test_what_is_copied_is_locked_until_its_date(server, bucket, judge, tmp_path, mode):
    store, log = open_store(server, bucket, mode), Log(tmp_path)
    store.check()
    note, began = log.grow(600), int(time.time())
    assert log.copier(store, tmp_path).copy(note).whole
    listed = judge.list_object_versions(Bucket=bucket)["Versions"]
    keys = {each["Key"] for each in listed}
    assert len(listed) == len(keys) == 6
    assert {f"gateway-1/tile/{path}" for path in ("0/000", "0/001", "0/002.p/88", "1/000.p/2")} < keys
    for each in listed:
        if each["Key"] == "gateway-1/checkpoint":
            continue
        lock = judge.head_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])
        assert lock["ObjectLockMode"] == mode
        assert began + 30 * DAY <= lock["ObjectLockRetainUntilDate"].timestamp() <= time.time() + 30 * DAY
    got = judge.get_object(Bucket=bucket, Key="gateway-1/tile/0/001")["Body"].read()
    assert got == log.storage.read("tile/0/001")
    assert judge.get_object(Bucket=bucket, Key="gateway-1/checkpoint")["Body"].read() == note
    store.close()


def test_a_copy_is_a_log_that_proves_by_itself(bucket, store, judge, tmp_path):
    log = Log(tmp_path)
    note = log.grow(256 * 256 + 300)
    log.copier(store, tmp_path).copy(note)

    class Bucketed:
        def read(self, path):
            return judge.get_object(Bucket=bucket, Key=f"gateway-1/{path}")["Body"].read()

        def write(self, path, data):
            raise AssertionError

        def drop_partial(self, path):
            raise AssertionError

    copied = TileTree(Bucketed(), log.tree.size)
    assert copied.root() == log.tree.root()
    assert copied.inclusion_proof(4711, log.tree.size) == log.tree.inclusion_proof(4711, log.tree.size)


def test_a_locked_version_outlives_overwriting_and_deleting(bucket, store, judge, tmp_path):
    log = Log(tmp_path)
    note = log.grow(300)
    log.copier(store, tmp_path).copy(note)
    [kept] = store.list("gateway-1/checkpoints/")
    judge.put_object(Bucket=bucket, Key=kept.key, Body=b"something else")
    judge.delete_object(Bucket=bucket, Key=kept.key)
    with pytest.raises(ClientError, match="AccessDenied"):
        judge.delete_object(Bucket=bucket, Key=kept.key, VersionId=kept.version)
    assert store.get(kept.key, kept.version) == note
    report = check_copies(store, "gateway-1/", log.keys, log.tree)
    assert (report.checkpoints, report.largest) == (1, 300)
    assert len(report.passed_over) == 1
    assert kept.key in report.passed_over[0]
    assert abs(report.first_ns / 1e9 - time.time()) < 60


def test_only_what_is_new_is_copied_also_after_a_restart(server, bucket, store, tmp_path):
    log = Log(tmp_path)
    log.copier(store, tmp_path).copy(log.grow(1000))
    server.requests.clear()
    again = log.copier(store, tmp_path)
    assert again.copy(log.grow(100)).objects == 5
    paths = [path.removeprefix(f"/{bucket}/gateway-1/") for path in server.puts()]
    assert paths[:3] == ["tile/0/003", "tile/0/004.p/76", "tile/1/000.p/4"]
    assert paths[3].startswith("checkpoints/00000000000000001100-")
    assert paths[4:] == ["checkpoint"]


def test_a_copy_that_was_cut_short_goes_on_where_it_was(server, bucket, store, tmp_path):
    log = Log(tmp_path)
    note = log.grow(2000)
    left = iter([False, False, False, True])
    stopped = log.copier(store, tmp_path).copy(note, lambda: next(left))
    assert (stopped.objects, stopped.whole) == (3, False)
    assert log.copier(store, tmp_path).copy(note).whole
    tiles = [path for path in server.puts() if "/tile/" in path]
    assert len(tiles) == len(set(tiles)) == 7 + 2


def test_a_bucket_that_locks_nothing_is_refused(server, judge, tmp_path):
    name = f"audit-{secrets.token_hex(4)}"
    server.make_bucket(name, locks=False)
    judge.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    store, log = open_store(server, name), Log(tmp_path)
    with pytest.raises(AnchorError, match="does not lock objects"):
        store.check()
    with pytest.raises(AnchorError, match=r"takes gateway-1/tile/0/000 not: 400 InvalidRequest|did not lock"):
        log.copier(store, tmp_path).copy(log.grow(300))
    store.close()


def test_a_bucket_that_is_not_there_is_named(server, store, tmp_path):
    gone = open_store(server, "no-such-bucket")
    with pytest.raises(AnchorError, match="no-such-bucket"):
        gone.check()
    with pytest.raises(AnchorError, match=r"no-such-bucket .*404 NoSuchBucket"):
        list(gone.list(""))
    gone.close()


def test_an_older_copy_of_the_log_is_found_by_what_the_bucket_has(store, tmp_path):
    key = Ed25519PrivateKey.generate()
    log = Log(tmp_path / "now", key)
    for count in (500, 60, 40):  # moto passes over the first object behind a marker that names none; S3 does not
        log.copier(store, tmp_path).copy(log.grow(count))
    older = Log(tmp_path / "older", key)
    note = older.grow(550)
    with pytest.raises(AnchorContradictsError, match="older copy"):
        older.copier(store, tmp_path).copy(note)
    with pytest.raises(AnchorContradictsError, match=r"600 records of the log example\.org/audit, which has 550"):
        check_copies(store, "gateway-1/", older.keys, older.tree, above=older.tree.size)


def test_a_log_written_anew_and_signed_with_the_stolen_key_is_found(store, tmp_path):
    key = Ed25519PrivateKey.generate()
    log = Log(tmp_path / "true", key)
    log.copier(store, tmp_path).copy(log.grow(500))
    forged = Log(tmp_path / "forged", key, salt=b"forged")
    note = forged.grow(900)
    forged.copier(store, tmp_path / "elsewhere").copy(note)
    with pytest.raises(AnchorContradictsError, match="changed and the log signed anew"):
        check_copies(store, "gateway-1/", forged.keys, forged.tree)
    with pytest.raises(AnchorContradictsError, match="900 records"):
        check_copies(store, "gateway-1/", log.keys, log.tree)


def test_more_versions_than_fit_one_page_are_all_listed(server, bucket, store, judge, monkeypatch):
    keys = [f"many/{n:03d} ä&?" for n in range(7)]
    for key in keys * 2:
        judge.put_object(Bucket=bucket, Key=key, Body=key.encode())
    whole = list(store.list("many/"))
    asked = store._ask
    monkeypatch.setattr(
        store, "_ask", lambda method, key, query="", **more: asked(method, key, f"{query}&max-keys=3", **more)
    )
    paged = list(store.list("many/"))
    assert sorted(each.key for each in paged) == sorted(keys * 2)
    assert {(e.key, e.version) for e in paged} == {(e.key, e.version) for e in whole}
    assert [store.get(each.key, each.version).decode() for each in paged] == [each.key for each in paged]


def test_the_copiers_secret_is_in_no_request(server, bucket, store, tmp_path):
    log = Log(tmp_path)
    log.copier(store, tmp_path).copy(log.grow(3))
    assert "copier-secret" not in repr(server.requests) + repr(store._credentials())
