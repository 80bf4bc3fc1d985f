"""When checkpoints are stamped and copied, and what is said when they are not."""

import time

import pytest

from audit.anchors.archive import TimestampArchive
from audit.anchors.copying import LogCopier
from audit.anchors.errors import AnchorContradictsError, AnchorError
from audit.anchors.keeping import RETRY_SECONDS, AnchorKeeper, Duty, copying, stamping
from audit.anchors.timestamps import TimestampAuthority
from tests.support.answering_server import Answered, answering
from tests.support.certificates import CertificateAuthority
from tests.support.timestamp_authority import StampingAuthority, signer_certificate

HOUR = 3600.0


class World:
    """A clock, and a duty that fails while it is told to."""

    def __init__(self):
        self.now, self.failing, self.done = 1000.0, "", []
        self.duty = Duty("copies to the moon", HOUR, self.act)
        self.keeper = AnchorKeeper([self.duty], lambda: self.now)

    def act(self, note):
        if self.failing:
            raise AnchorError(self.failing)
        self.done.append(note)


@pytest.fixture
def world():
    return World()


def test_a_checkpoint_is_done_at_once_and_the_next_when_it_is_time(world):
    for note, later in ((b"1", 0), (b"2", 10), (b"3", HOUR - 20), (b"4", 20), (b"5", 1)):
        world.now += later
        world.keeper.step(note)
    assert world.done == [b"1", b"4"]
    assert world.keeper.problem(60) == ""


def test_a_log_that_does_not_grow_has_nothing_to_do_and_is_not_overdue(world):
    for _ in range(5):
        world.keeper.step(b"1")
        world.now += 10 * HOUR
    assert world.done == [b"1"]
    assert world.keeper.problem(0) == ""


def test_what_fails_is_tried_again_soon_and_named_when_overdue(world):
    world.failing = "the moon is away"
    world.keeper.step(b"1")
    world.now += RETRY_SECONDS - 1
    world.failing = ""
    world.keeper.step(b"2")
    assert world.done == []
    world.now += HOUR + 60
    assert world.keeper.problem(60) == "copies to the moon are overdue: the moon is away"
    world.keeper.step(b"3")
    assert world.done == [b"3"]
    assert (world.keeper.problem(60), world.duty.failure) == ("", "")


def test_one_duty_that_fails_keeps_no_other_from_its_own(world):
    world.failing = "away"
    done = []
    keeper = AnchorKeeper([world.duty, Duty("other", HOUR, done.append)], lambda: world.now)
    keeper.step(b"1")
    assert done == [b"1"]


def test_a_log_that_is_an_older_copy_is_no_failure_to_pass_over():
    def contradict(note):
        raise AnchorContradictsError("older copy")

    with pytest.raises(AnchorContradictsError):
        AnchorKeeper([Duty("copies", HOUR, contradict)], lambda: 0.0).step(b"1")


def test_stamps_and_copies_are_such_duties(log, objects, tmp_path):
    now = int(time.time())
    root = CertificateAuthority.root("stamps.test", now=now)
    authority = StampingAuthority(*signer_certificate(root, now), lambda: now)
    archive = TimestampArchive(tmp_path / "timestamps")
    copier = LogCopier(objects, log.storage, tmp_path / "c", prefix="", retention_seconds=60, clock=lambda: now)
    stopped = [True]
    with answering(lambda asked: Answered(authority.answer(asked.body))) as server:
        client = TimestampAuthority(server.url, [root.certificate], timeout=10)
        clock = iter(range(0, 10_000, 100))
        keeper = AnchorKeeper(
            [stamping(client, archive, 1), copying(copier, objects.name, 1, lambda: stopped[0])], lambda: next(clock)
        )
        note = log.grow(300)
        keeper.step(note)
        assert "checkpoint" not in objects.keys
        stopped[0] = False
        keeper.step(note)
        client.close()
    assert [kept.note for kept in archive.all()] == [note]
    assert objects.keys[-1] == "checkpoint"
