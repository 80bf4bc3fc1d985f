"""References to secrets: what is read, what is refused, and that a value never prints."""

import copy
import io
import json
import logging
import os
import pickle
import time
from pathlib import Path

import pytest

from gateway.errors import UnavailableError
from gateway.secrets.reference_store import MAX_BYTES, ReferenceStore
from gateway.secrets.store import Secret

VALUE = "hunter2-and-more"


@pytest.fixture
def store() -> ReferenceStore:
    return ReferenceStore()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return private(tmp_path / "credential", VALUE)


def private(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o600)
    return path


def refusal(store: ReferenceStore, reference: str) -> str:
    with pytest.raises(UnavailableError) as caught:
        store.read(reference)
    assert caught.value.code == "secret_missing"
    assert reference in str(caught.value)
    assert VALUE not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n"])
async def test_a_file_is_read_without_its_last_line_break(store: ReferenceStore, file: Path, ending: str) -> None:
    private(file, VALUE + ending)
    resolved = await store.resolve(f"file:{file}")
    assert resolved.value is not None
    assert resolved.value.reveal() == VALUE.encode()


def test_spaces_and_inner_line_breaks_belong_to_the_value(store: ReferenceStore, file: Path) -> None:
    private(file, " a\nb \n")
    assert store.read(f"file:{file}").reveal() == b" a\nb "


def test_an_environment_variable_is_read_at_the_moment_of_use(
    store: ReferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("first", "second"):
        monkeypatch.setenv("GOVGATEWAY_TEST_SECRET", value)
        assert store.read("env:GOVGATEWAY_TEST_SECRET").reveal() == value.encode()


def test_an_environment_variable_may_hold_any_bytes(store: ReferenceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environb, b"GOVGATEWAY_TEST_SECRET", b"\xff\xfe")
    assert store.read("env:GOVGATEWAY_TEST_SECRET").reveal() == b"\xff\xfe"


@pytest.mark.parametrize("value", [None, ""])
def test_an_unset_or_empty_variable_is_refused(
    store: ReferenceStore, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("GOVGATEWAY_TEST_SECRET", raising=False)
    if value is not None:
        monkeypatch.setenv("GOVGATEWAY_TEST_SECRET", value)
    assert "not set or is empty" in refusal(store, "env:GOVGATEWAY_TEST_SECRET")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o644, 0o610, 0o602])
def test_a_file_that_others_may_use_is_refused(store: ReferenceStore, file: Path, mode: int) -> None:
    file.chmod(mode)
    assert "chmod 600" in refusal(store, f"file:{file}")


def test_a_file_opened_to_others_after_it_was_read_is_refused(store: ReferenceStore, file: Path) -> None:
    store.read(f"file:{file}")
    file.chmod(0o644)
    assert "chmod 600" in refusal(store, f"file:{file}")


def test_a_file_rewritten_in_place_is_read_again(store: ReferenceStore, file: Path) -> None:
    store.read(f"file:{file}")
    private(file, "another")
    assert store.read(f"file:{file}").reveal() == b"another"


def test_a_file_replaced_by_renaming_is_read_again(store: ReferenceStore, file: Path) -> None:
    store.read(f"file:{file}")
    replacement = private(file.with_name("new"), VALUE[::-1])
    replacement.replace(file)
    assert store.read(f"file:{file}").reveal() == VALUE[::-1].encode()


def test_a_rewrite_of_the_same_size_with_the_old_time_is_seen(store: ReferenceStore, file: Path) -> None:
    store.read(f"file:{file}")
    before = file.stat()
    time.sleep(0.02)  # the change time of a file has the resolution of the kernel's tick
    private(file, VALUE[::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.read(f"file:{file}").reveal() == VALUE[::-1].encode()


def test_a_link_that_is_turned_to_another_file_is_followed(store: ReferenceStore, tmp_path: Path) -> None:
    old, new = private(tmp_path / "old", "old-value"), private(tmp_path / "new", "new-value")
    link, spare = tmp_path / "link", tmp_path / "spare"
    link.symlink_to(old)
    assert store.read(f"file:{link}").reveal() == b"old-value"
    spare.symlink_to(new)
    spare.replace(link)
    assert store.read(f"file:{link}").reveal() == b"new-value"


def test_an_unchanged_file_is_not_read_twice(store: ReferenceStore, file: Path) -> None:
    assert store.read(f"file:{file}") is store.read(f"file:{file}")


def test_a_file_that_went_away_is_refused_and_not_remembered(store: ReferenceStore, file: Path) -> None:
    store.read(f"file:{file}")
    file.unlink()
    assert "No such file" in refusal(store, f"file:{file}")


def test_a_file_over_the_bound_is_refused(store: ReferenceStore, file: Path) -> None:
    private(file, b"x" * MAX_BYTES)
    assert len(store.read(f"file:{file}").reveal()) == MAX_BYTES
    private(file, b"x" * (MAX_BYTES + 1))
    assert "larger than" in refusal(store, f"file:{file}")


def test_an_endless_file_is_refused(store: ReferenceStore) -> None:
    assert "not a regular file" in refusal(store, "file:/dev/zero")


def test_a_named_pipe_does_not_hold_the_gateway(store: ReferenceStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "not a regular file" in refusal(store, f"file:{tmp_path / 'pipe'}")


@pytest.mark.parametrize("content", ["", "\n", "\r\n\n"])
def test_an_empty_file_is_refused(store: ReferenceStore, file: Path, content: str) -> None:
    private(file, content)
    assert "is empty" in refusal(store, f"file:{file}")


def test_a_directory_is_refused(store: ReferenceStore, tmp_path: Path) -> None:
    refusal(store, f"file:{tmp_path}")


@pytest.mark.parametrize("reference", ["", "plain-value", "vault:secret/x", "FILE:/etc/x", "http://host/x"])
def test_any_other_reference_is_refused(store: ReferenceStore, reference: str) -> None:
    assert "only file:, env: and sealed:" in refusal(store, reference)


# A secret never prints.


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        ascii,
        lambda secret: f"{secret}",
        lambda secret: f"{secret!r:>40}",
        lambda secret: f"{secret:s}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - one of the ways a value leaks
        "{0}".format,
        lambda secret: str([secret]) + str({"key": secret}) + str((secret,)),
        lambda secret: json.dumps({"key": secret}, default=str),
        lambda secret: str(vars(type(secret)).keys()) + str(dir(secret)),
    ],
)
def test_no_way_of_printing_shows_the_value(show) -> None:
    assert VALUE not in show(Secret(VALUE.encode()))


def test_logging_shows_no_value() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("test")
    logger.addHandler(logging.StreamHandler(stream))
    secret = Secret(VALUE.encode())
    logger.error("%s %r", secret, secret)
    logger.error("failed", exc_info=RuntimeError(secret))
    assert VALUE not in stream.getvalue()
    assert "<secret>" in stream.getvalue()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_cannot_be_pickled(protocol: int) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(VALUE.encode()), protocol)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda secret: copy.deepcopy({"key": secret})])
def test_a_secret_cannot_be_copied(duplicate) -> None:
    with pytest.raises(TypeError):
        duplicate(Secret(VALUE.encode()))


def test_secrets_are_compared_by_nobody() -> None:
    assert Secret(b"x") != Secret(b"x")
    with pytest.raises(TypeError):
        hash(Secret(b"x"))


def test_the_store_itself_shows_no_value(store: ReferenceStore, file: Path) -> None:
    store.read(f"file:{file}")
    assert VALUE not in repr(store) + str(vars(store))
