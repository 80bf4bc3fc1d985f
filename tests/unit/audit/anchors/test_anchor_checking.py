"""A log against what is kept of it outside."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.anchors.archive import TimestampArchive
from audit.anchors.checking import check_copies, check_timestamps
from audit.anchors.copying import LogCopier
from audit.anchors.errors import AnchorContradictsError, AnchorError
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.note import Ed25519Signer, add_signature_lines, parse_note, sign_note
from tests.support.anchored_log import ORIGIN, GrowingLog
from tests.support.certificates import CertificateAuthority
from tests.support.timestamp_authority import StampingAuthority, signer_certificate

NOW = int(time.time())
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def root():
    return CertificateAuthority.root("stamps.test", now=NOW, days=100)


@pytest.fixture
def archive(tmp_path):
    return TimestampArchive(tmp_path / "timestamps")


@pytest.fixture
def stamp(root, archive):
    """Stamp a note and keep the stamp."""
    times = iter(range(NOW, NOW + 1000))
    authority = StampingAuthority(*signer_certificate(root, NOW, days=50), lambda: next(times))

    def keep(note, by=authority):
        return archive.keep(note, by.stamp(note))

    return keep


def test_every_checkpoint_that_was_stamped_is_continued(log, archive, stamp, root):
    for count in (1, 255, 100):
        stamp(log.grow(count))
    log.grow(50)
    report = check_timestamps(archive, [root.certificate], log.keys, log.tree)
    assert (report.checkpoints, report.largest, report.passed_over) == (3, 356, [])
    assert (report.first_ns, report.last_ns) == (NOW * SECOND, (NOW + 2) * SECOND)


def test_stamps_without_a_log_and_a_log_without_stamps_say_nothing(log, archive, root):
    log.grow(3)
    report = check_timestamps(archive, [root.certificate], log.keys, log.tree)
    assert (report.checkpoints, report.largest, report.first_ns, report.last_ns) == (0, 0, 0, 0)


def test_a_log_that_was_cut_is_shorter_than_its_stamps(log, archive, stamp, root, tmp_path):
    stamp(log.grow(100))
    cut = GrowingLog(tmp_path / "cut", log.key)
    cut.grow(99)
    with pytest.raises(AnchorContradictsError, match="CN=time stamps of a test has a signed checkpoint of 100 records"):
        check_timestamps(archive, [root.certificate], cut.keys, cut.tree)


@pytest.mark.parametrize("count", [100, 101, 5000])
def test_a_log_written_anew_with_the_stolen_key_does_not_continue_its_stamps(
    log, archive, stamp, root, tmp_path, count
):
    stamp(log.grow(100))
    anew = GrowingLog(tmp_path / "anew", log.key, b"anew")
    stamp(anew.grow(count))
    with pytest.raises(AnchorContradictsError, match="changed and the log signed anew"):
        check_timestamps(archive, [root.certificate], anew.keys, anew.tree)


def test_what_says_nothing_about_this_log_is_named_and_passed_over(log, archive, stamp, root, objects, tmp_path):
    stamp(log.grow(10))
    stranger = GrowingLog(tmp_path / "stranger")
    stamp(stranger.grow(500))
    other_root = CertificateAuthority.root("stamps.test", now=NOW)
    by_nobody = StampingAuthority(*signer_certificate(other_root, NOW), lambda: NOW)
    stamp(log.grow(1), by_nobody)
    another_log = sign_note(Checkpoint("example.org/another", 900, bytes(32)).to_text(), [log.signer])
    stamp(another_log)
    report = check_timestamps(archive, [root.certificate], log.keys, log.tree)
    assert report.checkpoints == 1
    assert sorted(each.split(": ", 1)[1][:40] for each in report.passed_over) == sorted(
        [
            "no known key signed the note",
            "the time stamp does not verify: Error wh",
            "it is of the log example.org/another",
        ]
    )


def test_a_stamped_note_that_was_changed_or_taken_away_is_noticed(log, archive, stamp, root):
    note = log.grow(10)
    path = stamp(note)
    cosigner = Ed25519Signer("somebody.else", Ed25519PrivateKey.generate())
    line = str(parse_note(sign_note(b"x\n", [cosigner]))[1][0])
    path.with_suffix(".checkpoint").write_bytes(add_signature_lines(note, [line]))
    report = check_timestamps(archive, [root.certificate], log.keys, log.tree)
    assert (report.checkpoints, len(report.passed_over)) == (0, 1)
    assert "of something else" in report.passed_over[0]
    path.with_suffix(".checkpoint").unlink()
    with pytest.raises(AnchorError, match="cannot be read"):
        check_timestamps(archive, [root.certificate], log.keys, log.tree)


def test_stamps_that_cannot_be_kept_are_an_error(log, archive, tmp_path):
    (tmp_path / "timestamps").write_text("in the way")
    with pytest.raises(AnchorError, match="cannot be kept"):
        archive.keep(log.grow(1), b"answer")


def test_a_log_without_its_tiles_is_not_taken_for_another_one(log, archive, stamp, root, tmp_path):
    stamp(log.grow(300))
    log.grow(300)
    (tmp_path / "tree" / "tile" / "0" / "001").unlink()
    with pytest.raises(AnchorError, match=r"cannot be compared: tile/0/001"):
        check_timestamps(archive, [root.certificate], log.keys, log.tree)


def test_with_the_trees_size_only_what_is_at_least_as_large_is_fetched(log, objects, tmp_path, monkeypatch):
    copier = LogCopier(
        objects, log.storage, tmp_path / "c", prefix="", retention_seconds=60, clock=lambda: NOW
    )  # fmt: skip
    for _ in range(5):
        copier.copy(log.grow(40))
    fetched = []
    get = objects.get
    monkeypatch.setattr(objects, "get", lambda key, version: fetched.append(key) or get(key, version))
    assert check_copies(objects, "", log.keys, log.tree, above=160).checkpoints == 2
    assert [key[12:32] for key in fetched] == [f"{160:020d}", f"{200:020d}"]


@pytest.mark.parametrize("origin", [ORIGIN, "example.org/other"])
def test_a_checkpoint_signed_by_a_stranger_stops_nothing(log, objects, origin):
    log.grow(10)
    stranger = Ed25519Signer(origin, Ed25519PrivateKey.generate())
    note = sign_note(Checkpoint(origin, 10**9, bytes(32)).to_text(), [stranger])
    objects.put(f"checkpoints/{10**9:020d}-feed", note, None)
    objects.put(f"checkpoints/{10**9:020d}-f00d", b"\xff nothing", None)
    report = check_copies(objects, "", log.keys, log.tree)
    assert (report.checkpoints, len(report.passed_over)) == (0, 2)
