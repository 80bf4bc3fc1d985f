"""What a witness cosigns and what not, status by status (C2SP tlog-witness), and what its client makes of the answers."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.tlog.checkpoint import Checkpoint
from audit.tlog.merkle import EMPTY_ROOT, leaf_hash
from audit.tlog.note import (
    CosignatureSigner,
    Ed25519Signer,
    SignatureLine,
    add_signature_lines,
    note_text,
    open_note,
    parse_note,
    parse_verifier_key,
    sign_note,
)
from audit.tlog.tiles import DirectoryTiles, TileTree
from audit.witness.client import Collected, WitnessClient, WitnessContradictsError, WitnessError, collect
from audit.witness.deciding import Answer, WitnessRules, format_request
from audit.witness.policy import Witness
from audit.witness.state import WitnessState, WitnessStateError

LOG = Ed25519Signer("example.org/audit", Ed25519PrivateKey.generate())
OTHER = Ed25519Signer("example.org/other", Ed25519PrivateKey.generate())
STRANGER = Ed25519Signer("example.org/audit", Ed25519PrivateKey.generate())
COSIGNER = CosignatureSigner("witness.example/w", Ed25519PrivateKey.generate(), lambda: 1_800_000_000)
KNOWN = [parse_verifier_key(LOG.verifier_key), parse_verifier_key(OTHER.verifier_key)]


class Tree:
    """A log's tree; `fork` makes two of them differ."""

    def __init__(self, directory: Path, fork: str = "") -> None:
        self.tiles = TileTree(DirectoryTiles(directory), 0)
        self._fork = fork

    def grow(self, size: int) -> bytes:
        """Make the tree this large; return its checkpoint, signed."""
        new = range(self.tiles.size, size)
        self.tiles.append([leaf_hash(f"{number}{self._fork if number >= 3 else ''}".encode()) for number in new])
        return self.note(size)

    def note(self, size: int, signer: Ed25519Signer = LOG) -> bytes:
        return sign_note(Checkpoint(signer.name, size, self.tiles.root(size)).to_text(), [signer])

    def proof(self, old: int, new: int) -> Sequence[bytes]:
        return self.tiles.consistency_proof(old, new) if old <= new else []


@pytest.fixture
def state(tmp_path: Path) -> WitnessState:
    return WitnessState(tmp_path / "witness.sqlite")


@pytest.fixture
def rules(state: WitnessState) -> WitnessRules:
    return WitnessRules(state, [COSIGNER], KNOWN)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree")


def ask(rules: WitnessRules, old: int, proof: Sequence[bytes], note: bytes) -> Answer:
    return rules.add_checkpoint(format_request(old, proof, note))


def test_what_continues_is_cosigned_and_remembered(rules, state, tree):
    for old, new in ((0, 5), (5, 5), (5, 300), (300, 301)):
        note = tree.grow(new)
        answer = ask(rules, old, tree.proof(old, new), note)
        assert answer.status == 200
        cosigned = add_signature_lines(note, answer.body.decode().splitlines())
        opened = open_note(cosigned, [parse_verifier_key(COSIGNER.verifier_key)])
        assert opened.signatures[0].timestamp == 1_800_000_000
    assert [(seen.origin, seen.size, seen.root) for seen in state.all()] == [(LOG.name, 301, tree.tiles.root())]


def test_each_log_has_a_place_of_its_own(rules, state, tree):
    assert ask(rules, 0, [], tree.grow(5)).status == 200
    assert ask(rules, 0, [], tree.note(4, OTHER)).status == 200
    assert [(seen.origin, seen.size) for seen in state.all()] == [(LOG.name, 5), (OTHER.name, 4)]


def test_refusals_are_those_of_the_specification_and_change_nothing(rules, state, tree, tmp_path):
    note = tree.grow(10)
    assert ask(rules, 0, [], note).status == 200
    more = tree.grow(20)
    proof = tree.proof(10, 20)
    conflict = ask(rules, 9, tree.proof(9, 20), more)
    assert (conflict.status, conflict.body, conflict.content_type) == (409, b"10\n", "text/x.tlog.size")
    fork = Tree(tmp_path / "fork", "fork")
    empty_root = sign_note(Checkpoint(LOG.name, 0, bytes(32)).to_text(), [LOG])
    for status, old, hashes, text in (
        (404, 0, [], sign_note(Checkpoint("example.org/unknown", 1, bytes(32)).to_text(), [LOG])),
        (403, 10, proof, tree.note(20, STRANGER)),
        (403, 10, proof, more.replace(b"\n20\n", b"\n21\n")),
        (400, 30, [], more),
        (422, 10, proof[:-1], more),
        (422, 10, [*proof, bytes(32)], more),
        (422, 10, [], more),
        (422, 10, fork.tiles.consistency_proof(0, 0), fork.grow(10)),
        (422, 10, (fork.grow(20), fork.proof(10, 20))[1], fork.note(20)),
    ):
        assert ask(rules, old, hashes, text).status == status, (status, old)
    assert [(seen.size, seen.root) for seen in state.all()] == [(10, tree.tiles.root(10))]
    assert WitnessRules(state, [COSIGNER], KNOWN[:0]).add_checkpoint(format_request(10, proof, more)).status == 404
    assert ask(WitnessRules(WitnessState(tmp_path / "new"), [COSIGNER], KNOWN), 0, [], empty_root).status == 422
    assert ask(WitnessRules(WitnessState(tmp_path / "new"), [COSIGNER], KNOWN), 0, [bytes(32)], more).status == 422


def test_an_empty_tree_is_cosigned_once_it_is_empty(rules):
    empty = sign_note(Checkpoint(LOG.name, 0, EMPTY_ROOT).to_text(), [LOG])
    assert ask(rules, 0, [], empty).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"old 0\n", b"old 0\n\n", b"old x\n\nnote", b"old 01\n\nnote", b"old -1\n\nnote", b"old 0\nnot base64!\n\nnote",
        b"old 0\nAAAA\n\nnote", b"new 0\n\nnote", b"old 0\n" + b"A" * 43 + b"=\n\nnote", b"\xff\n\nnote",
        b"old 99999999999999999999\n\nnote", b"old 1\n" + b"A" * 42 + b"B=\n\nnote", b"old 0\n" * 50_000 + b"\nnote",
        b"old " + b"9" * 5000 + b"\n\nnote", b"old \xd9\xa1\n\nnote", b"old 0\n" + (b"A" * 43 + b"=\n") * 64 + b"\nnote",
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(rules, body):
    assert rules.add_checkpoint(body).status == 400


def test_of_two_forks_at_once_one_is_cosigned(tmp_path, state):
    """Two processes would race the same way: the check is in the transaction that writes."""
    base = Tree(tmp_path / "base")
    assert ask(WitnessRules(state, [COSIGNER], KNOWN), 0, [], base.grow(3)).status == 200
    forks = [Tree(tmp_path / f"fork-{number}", f"fork-{number}") for number in range(8)]
    notes = [fork.grow(10 + number) for number, fork in enumerate(forks)]
    answers: list[int] = []
    start = threading.Barrier(len(forks))

    def attempt(fork: Tree, note: bytes) -> None:
        rules = WitnessRules(WitnessState(tmp_path / "witness.sqlite"), [COSIGNER], KNOWN)
        start.wait()
        answers.append(ask(rules, 3, fork.proof(3, fork.tiles.size), note).status)

    threads = [threading.Thread(target=attempt, args=pair) for pair in zip(forks, notes, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [409] * 7


def test_a_state_that_is_no_database_is_named(tmp_path):
    (tmp_path / "witness.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(WitnessStateError, match=r"witness\.sqlite"):
        WitnessState(tmp_path / "witness.sqlite")


# the client


ClientOf = Callable[[Callable[[httpx.Request], httpx.Response]], WitnessClient]


@pytest.fixture
def client_of() -> Iterator[ClientOf]:
    """Make clients of a witness that answers so."""
    made = []

    def make(answer: Callable[[httpx.Request], httpx.Response]) -> WitnessClient:
        client = WitnessClient(Witness("w", parse_verifier_key(COSIGNER.verifier_key), "http://127.0.0.1:1"), timeout=5)
        client._http._http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


def through(rules: WitnessRules) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        said = rules.add_checkpoint(request.content)
        return httpx.Response(said.status, content=said.body)

    return answer


def test_a_client_finds_out_what_the_witness_knows(client_of, rules, tree):
    first = client_of(through(rules))
    assert first.cosign(tree.grow(5), tree.proof).startswith("— witness.example/w ")
    tree.grow(30)
    late = client_of(through(rules))  # restarted, it knows nothing of before
    note = tree.note(30)
    line = late.cosign(note, tree.proof)
    opened = open_note(add_signature_lines(note, [line]), [parse_verifier_key(COSIGNER.verifier_key)])
    assert [signature.name for signature in opened.signatures] == ["witness.example/w"]


def test_an_older_copy_and_a_rewritten_log_are_told_apart_from_a_witness_that_is_away(client_of, rules, tree, tmp_path):
    client_of(through(rules)).cosign(tree.grow(30), tree.proof)
    with pytest.raises(WitnessContradictsError, match="older copy"):
        client_of(through(rules)).cosign(tree.note(20), tree.proof)
    rewritten = Tree(tmp_path / "fork", "rewritten with the stolen key")
    with pytest.raises(WitnessContradictsError, match="another tree of 30 records"):
        client_of(through(rules)).cosign(rewritten.grow(30), rewritten.proof)
    with pytest.raises(WitnessContradictsError, match="written anew"):
        client_of(through(rules)).cosign(rewritten.grow(40), rewritten.proof)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx.Response(200, content=b""), "no cosignature"),
        (httpx.Response(200, content=b"<html>"), "no cosignature"),
        (httpx.Response(200, content=b"x" * 100_000), "more than 65,536 bytes"),
        (httpx.Response(302, headers={"location": "http://127.0.0.1/"}), "302"),
        (httpx.Response(503), "503"),
        (httpx.Response(409, content=b"many\n"), "names no size"),
        (httpx.Response(409, content=b"3\n"), "refuses .409."),
        (httpx.Response(422, content=b"no\n"), "refuses .422."),  # to no proof at all: nothing was seen before
    ],
)
def test_a_witness_that_answers_nonsense_did_not_cosign(client_of, tree, answer, says):
    with pytest.raises(WitnessError, match=says):
        client_of(lambda _: answer).cosign(tree.grow(5), tree.proof)


def test_a_witness_that_names_another_size_each_time_is_not_asked_for_ever(client_of, tree):
    sizes = iter(range(1, 100))
    with pytest.raises(WitnessError, match="another size each time"):
        client_of(lambda _: httpx.Response(409, content=b"%d\n" % next(sizes))).cosign(tree.grow(50), tree.proof)
    assert next(sizes) == 4


def test_a_conflict_at_the_logs_own_size_is_another_tree_of_it(client_of, tree):
    with pytest.raises(WitnessContradictsError, match="another tree of 5 records"):
        client_of(lambda _: httpx.Response(409, content=b"5\n")).cosign(tree.grow(5), tree.proof)


def test_of_several_lines_the_one_of_the_witnesss_own_key_is_taken(client_of, tree):
    note = tree.grow(5)
    own = parse_note(sign_note(note_text(note), [COSIGNER]))[1][0]
    near = replace(own, key_id=own.key_id[:3] + bytes([own.key_id[3] ^ 1]))
    answer = httpx.Response(200, content=f"{near}\n{own}\n".encode())
    assert client_of(lambda _: answer).cosign(note, tree.proof) == str(own)


def test_a_cosignature_without_its_time_is_none(client_of, tree):
    note, key = tree.grow(5), Ed25519PrivateKey.generate()
    cosigner = CosignatureSigner(COSIGNER.name, key, lambda: 1)
    signature = bytes(8) + key.sign(b"cosignature/v1\ntime 0\n" + note_text(note))
    answer = httpx.Response(200, content=f"{SignatureLine(cosigner.name, cosigner.key_id, signature)}\n".encode())
    client = client_of(lambda _: answer)
    client._key = parse_verifier_key(cosigner.verifier_key)
    with pytest.raises(WitnessError, match="when it signed"):
        client.cosign(note, tree.proof)


def test_a_signature_of_another_key_or_text_is_no_cosignature(client_of, tree, tmp_path):
    foreign = CosignatureSigner(COSIGNER.name, Ed25519PrivateKey.generate(), lambda: 1)
    other = WitnessRules(WitnessState(tmp_path / "other"), [foreign], KNOWN)
    with pytest.raises(WitnessError, match="no cosignature"):
        client_of(through(other)).cosign(tree.grow(5), tree.proof)


def test_witnesses_are_asked_together_and_each_failure_is_named(client_of, rules, tree, tmp_path):
    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    found = collect(tree.grow(5), [client_of(through(rules)), client_of(away)], tree.proof)
    assert len(found.lines) == 1
    assert len(found.failures) == 1
    assert "cannot be reached" in found.failures[0]
    assert collect(tree.note(5), [], tree.proof) == Collected((), ())


@pytest.mark.parametrize(
    "url", ["", "http://witness.example", "ftp://witness.example", "https2://x", "//x", "https://"]
)
def test_a_witness_is_reached_over_tls_or_loopback(url):
    with pytest.raises(WitnessError, match="https"):
        WitnessClient(Witness("w", parse_verifier_key(COSIGNER.verifier_key), url), timeout=1)
