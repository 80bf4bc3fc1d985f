"""The sealed file: what is put in comes out, and whatever else was done to the file is refused."""

import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.secrets.reference_store import ReferenceStore
from gateway.secrets.sealed_file import MAX_VALUE_BYTES, SealedFile, SealedFileError
from gateway.secrets.store import Secret

CANARY = b"canary-4711-of-the-mine"


def opened(directory: Path, given: bytes = b64encode(b"k" * 32), *, passphrase: bool = False) -> SealedFile:
    return SealedFile(
        directory / "secrets.sealed", lambda: Secret(given), passphrase=passphrase, mark=directory / "mark"
    )


@pytest.fixture
def sealed(tmp_path: Path) -> SealedFile:
    made = opened(tmp_path)
    made.add("backend", CANARY, 100)
    return made


def refusal(sealed: SealedFile, name: str = "backend") -> str:
    with pytest.raises(SealedFileError) as caught:
        sealed.get(name)
    return str(caught.value)


def test_a_secret_comes_out_as_it_was_put_in_and_the_file_shows_neither_name_nor_value(sealed, tmp_path):
    found = opened(tmp_path).get("backend")
    assert (found.value.reveal(), found.version, found.changed_at) == (CANARY, 1, 100)
    content = sealed.path.read_bytes()
    assert CANARY not in content
    assert b"backend" not in content
    assert sealed.path.stat().st_mode & 0o777 == 0o600
    assert CANARY.decode() not in repr(found)


def test_a_rotation_is_seen_by_whoever_has_the_file_open(sealed, tmp_path):
    reader = opened(tmp_path)
    assert reader.get("backend").version == 1
    sealed.rotate("backend", b"another", 200)
    assert (reader.get("backend").value.reveal(), reader.get("backend").version) == (b"another", 2)
    sealed.remove("backend")
    assert "has no secret backend" in refusal(reader)
    assert reader.all() == []


def test_the_store_resolves_a_reference_and_says_since_when(sealed):
    store = ReferenceStore(sealed)
    assert store.read("sealed://backend").reveal() == CANARY
    assert store.state("sealed://backend") == {"since": 100, "version": 1}
    assert store.state("sealed://other") == {}
    assert store.state("file:/etc/hostname") == {}


@pytest.mark.parametrize("value", [b"\x00\xff\xfe" * 10, "пароль".encode(), b"line\nline", b"x" * MAX_VALUE_BYTES])
def test_any_bytes_are_a_value(sealed, value):
    sealed.add("other", value, 1)
    assert sealed.get("other").value.reveal() == value


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("other", b"", "empty"),
        ("other", b"x" * (MAX_VALUE_BYTES + 1), "more than"),
        ("../etc", b"x", "is no name"),
        ("a b", b"x", "is no name"),
        ("", b"x", "is no name"),
        ("backend", b"x", "is there already"),
    ],
)
def test_what_cannot_be_put_in_changes_nothing(sealed, name, value, says):
    before = sealed.path.read_bytes()
    with pytest.raises(SealedFileError, match=says):
        sealed.add(name, value, 1)
    assert sealed.path.read_bytes() == before


def test_a_rotation_to_the_same_value_or_of_nothing_is_none(sealed):
    with pytest.raises(SealedFileError, match="has this value already"):
        sealed.rotate("backend", CANARY, 2)
    with pytest.raises(SealedFileError, match="has no secret other"):
        sealed.rotate("other", b"x", 2)


def test_what_cannot_be_recorded_is_not_written(sealed):
    before = sealed.path.read_bytes()

    def full(_: object) -> None:
        raise OSError("the disk is full")

    for change in (lambda: sealed.rotate("backend", b"n", 2, full), lambda: sealed.remove("backend", full)):
        with pytest.raises(OSError, match="the disk is full"):
            change()
    assert sealed.path.read_bytes() == before


def test_another_key_does_not_open_it(sealed, tmp_path):
    assert "does not open: the key is another one" in refusal(opened(tmp_path, b64encode(b"x" * 32)))
    assert "does not open" in refusal(opened(tmp_path, b"no key at all"))


def test_a_passphrase_opens_it_and_another_one_or_a_key_does_not(tmp_path):
    made = opened(tmp_path, b"correct horse battery", passphrase=True)
    made.add("backend", CANARY, 1)
    made.rotate("backend", b"next", 2)
    assert opened(tmp_path, b"correct horse battery", passphrase=True).get("backend").value.reveal() == b"next"
    assert "does not open" in refusal(opened(tmp_path, b"incorrect horse battery", passphrase=True))
    assert "was sealed with a passphrase" in refusal(opened(tmp_path))
    assert "shorter than 12 bytes" in refusal(opened(tmp_path, b"short", passphrase=True))


def test_a_file_sealed_with_a_key_says_so_to_a_passphrase(sealed, tmp_path):
    assert "was sealed with a key" in refusal(opened(tmp_path, b"correct horse battery", passphrase=True))


def test_a_header_cannot_ask_for_any_cost(tmp_path):
    made = opened(tmp_path, b"correct horse battery", passphrase=True)
    made.add("backend", CANARY, 1)
    content = made.path.read_bytes().replace(b'"n": 65536', b'"n": 1073741824')
    made.path.write_bytes(content)
    assert "does not open" in refusal(opened(tmp_path, b"correct horse battery", passphrase=True))


@settings(max_examples=150)
@given(st.data())
def test_no_changed_or_cut_file_opens(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("sealed")
    made = opened(directory)
    made.add("backend", CANARY, 1)
    content = made.path.read_bytes()
    if data.draw(st.booleans()):
        spoilt = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        place = data.draw(st.integers(0, len(content) - 1))
        spoilt = content[:place] + bytes([content[place] ^ (1 << data.draw(st.integers(0, 7)))]) + content[place + 1 :]
    made.path.write_bytes(spoilt)
    assert "does not open" in refusal(opened(directory))


def test_an_older_copy_is_refused_and_so_is_a_new_file_in_its_place(sealed, tmp_path):
    older = sealed.path.read_bytes()
    sealed.rotate("backend", b"after the leak", 2)
    sealed.path.write_bytes(older)
    said = refusal(opened(tmp_path))
    assert "older copy: it is generation 1, and 2 was here already" in said
    sealed.path.unlink()
    opened(tmp_path).add("backend", b"begun anew", 3)
    assert opened(tmp_path).get("backend").value.reveal() == b"begun anew"


def test_a_changed_mark_is_refused(sealed, tmp_path):
    mark = tmp_path / "mark"
    mark.write_text(mark.read_text().replace('"generation": 1', '"generation": 0'))
    assert "is damaged, or of another key" in refusal(opened(tmp_path))


def test_a_file_that_others_can_read_is_refused(sealed, tmp_path):
    sealed.path.chmod(0o640)
    assert "accessible to others" in refusal(opened(tmp_path))


def test_no_file_and_no_regular_file_are_said_so(tmp_path):
    assert "begin it with: govctl secret set" in refusal(opened(tmp_path))
    (tmp_path / "secrets.sealed").mkdir()
    assert "secrets.sealed" in refusal(opened(tmp_path))


def test_processes_that_change_it_at_once_lose_nothing(sealed, tmp_path):
    program = (
        "import sys; from pathlib import Path; from tests.unit.secrets.test_sealed_file import opened\n"
        "for number in range(10): opened(Path(sys.argv[1])).add(f'{sys.argv[2]}-{number}', b'value', 1)"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(each)]) for each in range(3)]
    assert [each.wait(timeout=60) for each in running] == [0, 0, 0]
    assert len(opened(tmp_path).all()) == 31


def test_a_value_is_compared_as_a_whole():
    assert Secret(CANARY).matches(CANARY)
    assert not Secret(CANARY).matches(CANARY[:-1])
