"""Two processes of one witness, asked at once to cosign forks of a log, and killed while they do."""

import secrets
import signal
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.tlog.checkpoint import Checkpoint, parse_checkpoint
from audit.tlog.merkle import leaf_hash, root_of
from audit.tlog.note import Ed25519Signer, open_note, parse_verifier_key, sign_note
from audit.tlog.tiles import DirectoryTiles, TileTree
from audit.witness.deciding import format_request
from tests.support.witness_process import WitnessProcess

LOG = Ed25519Signer("example.org/audit", Ed25519PrivateKey.generate())
ROUNDS, FORKS = 6, 8


class Fork:
    """A history of the log, and what has to be asked to have it cosigned after the one before."""

    def __init__(self, directory: Path, leaves: list[bytes], old: int) -> None:
        tree = TileTree(DirectoryTiles(directory / secrets.token_hex(8)), 0)
        tree.append(leaves)
        self.leaves = leaves
        self.root = root_of(leaves)
        self.note = sign_note(Checkpoint(LOG.name, len(leaves), self.root).to_text(), [LOG])
        self.request = format_request(old, tree.consistency_proof(old, len(leaves)), self.note)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[tuple[WitnessProcess, WitnessProcess]]:
    first = WitnessProcess(tmp_path / "witness")
    first.watch(LOG.verifier_key)
    second = first.beside()
    first.start()
    second.start()
    yield first, second
    first.end()
    second.end()


def latest(process: WitnessProcess) -> Checkpoint | None:
    """Return what the witness cosigned last, both signatures verified."""
    answer = httpx.get(f"{process.url}/{sha256(LOG.name.encode()).hexdigest()}/checkpoint")
    if answer.status_code == 404:
        return None
    keys = [parse_verifier_key(LOG.verifier_key), parse_verifier_key(process.verifier_key)]
    opened = open_note(answer.content, keys)
    assert len(opened.signatures) == 2
    return parse_checkpoint(opened.text)


def test_of_forks_at_two_processes_at_once_one_is_cosigned_and_what_was_answered_stays(processes, tmp_path):
    history: list[bytes] = []
    answered = 0
    for number in range(ROUNDS):
        forks = [
            Fork(
                tmp_path / "trees", [*history, *(leaf_hash(secrets.token_bytes(8)) for _ in range(1 + n))], len(history)
            )
            for n in range(FORKS)
        ]
        cosigned: list[Fork] = []
        statuses: list[int] = []
        start = threading.Barrier(FORKS + 1)

        def attempt(fork: Fork, process: WitnessProcess, start=start, cosigned=cosigned, statuses=statuses) -> None:
            start.wait()
            try:
                answer = httpx.post(f"{process.url}/add-checkpoint", content=fork.request, timeout=60)
            except httpx.TransportError:
                return  # it was killed
            statuses.append(answer.status_code)
            if answer.status_code == 200:
                cosigned.append(fork)

        threads = [threading.Thread(target=attempt, args=(fork, processes[n % 2])) for n, fork in enumerate(forks)]
        for thread in threads:
            thread.start()
        start.wait()
        killed = processes[0] if number % 2 else None
        if killed is not None:
            killed.end(signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert len(cosigned) <= 1
        assert set(statuses) <= {200, 409}
        if killed is not None:
            killed.start()
        else:
            assert sorted(statuses) == [200] + [409] * (FORKS - 1)
        seen = [latest(process) for process in processes]
        assert seen[0] == seen[1]
        for fork in cosigned:
            assert seen[0] is not None
            assert seen[0].root == fork.root, "what was answered is what is remembered"
        answered += len(cosigned)
        history = next((fork.leaves for fork in forks if seen[0] and fork.root == seen[0].root), history)
        assert seen[0] is None or seen[0].root == root_of(history), "nothing but one of the forks was taken"
    assert answered >= ROUNDS // 2
