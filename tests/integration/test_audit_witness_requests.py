"""A witness as a process of its own, and requests that are made to bring it down."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.tlog.checkpoint import Checkpoint
from audit.tlog.merkle import leaf_hash, root_of
from audit.tlog.note import CosignatureSigner, Ed25519Signer, SignatureLine, parse_note, sign_note
from audit.witness.deciding import format_request
from audit.witness.protocol import MAX_CONNECTIONS
from audit.witness.state import WitnessState
from tests.support.running_gateway import govctl
from tests.support.witness_process import WitnessProcess

LOG = Ed25519Signer("example.org/audit", Ed25519PrivateKey.generate())
OTHER = CosignatureSigner("example.org/audit", Ed25519PrivateKey.generate(), lambda: 1)
LEAVES = [leaf_hash(b"%d" % number) for number in range(40)]
NOTE = sign_note(Checkpoint(LOG.name, 1, LEAVES[0]).to_text(), [LOG])
OWN = parse_note(NOTE)[1][0]
GOOD = format_request(0, [], NOTE)
HASH = b"A" * 43 + b"=\n"


def resigned(text: bytes) -> bytes:
    """Return a request whose text the log signed, whatever it is."""
    line = SignatureLine(LOG.name, LOG.key_id, LOG.sign(text))
    return b"old 0\n\n" + text + f"\n{line}\n".encode()


def sized(size: bytes) -> bytes:
    return resigned(NOTE.split(b"\n\n")[0].replace(b"\n1\n", b"\n" + size + b"\n") + b"\n")


MALFORMED = {
    "empty": b"", "newlines": b"\n" * 1000, "nul": b"\0" * 100, "not-utf-8": GOOD.replace(b"example", b"\xff\xfe"),
    "surrogate": GOOD.replace(b"example", b"\xed\xa0\x80"), "bom": b"\xef\xbb\xbf" + GOOD, "crlf": GOOD.replace(b"\n", b"\r\n"),
    "old-5000-digits": GOOD.replace(b"old 0", b"old " + b"9" * 5000), "old-arabic": GOOD.replace(b"old 0", "old \u0661".encode()),
    "old-superscript": GOOD.replace(b"old 0", "old \u00b2".encode()), "old-underscore": GOOD.replace(b"old 0", b"old 1_0"),
    "old-2**63-and-more": GOOD.replace(b"old 0", b"old 9999999999999999999"), "old-negative": GOOD.replace(b"old 0", b"old -1"),
    "old-larger": GOOD.replace(b"old 0", b"old 2"), "no-blank-line": GOOD.replace(b"\n\n", b"\n"), "another-blank-line": b"\n" + GOOD,
    "size-5000-digits": sized(b"9" * 5000), "size-arabic": sized("\u0661".encode()), "size-2**63": sized(b"%d" % 2**63),
    "size-2**64": sized(b"%d" % 2**64), "size-none": sized(b""), "size-negative": sized(b"-1"), "size-float": sized(b"1e3"),
    "64-hashes": GOOD.replace(b"old 0\n", b"old 1\n" + HASH * 64), "9000-hashes": b"old 1\n" + b"AAAA\n" * 9000 + GOOD,
    "hash-of-3-bytes": GOOD.replace(b"old 0\n", b"old 0\nAAAA\n"), "hash-url-safe": GOOD.replace(b"old 0\n", b"old 0\n" + b"_" * 43 + b"=\n"),
    "hash-spare-bits": GOOD.replace(b"old 0\n", b"old 0\n" + b"A" * 42 + b"B=\n"), "control": sized(b"1\x1b"),
    "65-signatures": GOOD + f"{OWN}\n".encode() * 64, "signature-base64": GOOD.replace(b"=\n\n", b"=\n\n\xe2\x80\x94 x %%\n"),
    "signature-empty": GOOD + b"\xe2\x80\x94 x \n", "no-signature": b"old 0\n\n" + NOTE.split(b"\n\n")[0] + b"\n\n",
    "root-short": resigned(b"example.org/audit\n1\nAAAA\n"), "two-lines": resigned(b"example.org/audit\n1\n"),
}  # fmt: skip


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WitnessProcess]:
    process = WitnessProcess(tmp_path_factory.mktemp("witness") / "home")
    process.watch(LOG.verifier_key)
    process.start()
    yield process
    process.end()


@pytest.fixture(scope="module")
def client(witness: WitnessProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=witness.url, timeout=60, trust_env=False) as made:
        yield made


@pytest.mark.parametrize("what", MALFORMED)
def test_what_is_malformed_is_refused(client: httpx.Client, what: str) -> None:
    assert client.post("/add-checkpoint", content=MALFORMED[what]).status_code == 400


def test_the_other_refusals_are_those_of_the_specification(client: httpx.Client) -> None:
    empty = resigned(b"example.org/audit\n0\n" + HASH)
    stranger = str(SignatureLine(LOG.name, LOG.key_id, OTHER.sign(NOTE.split(b"\n\n")[0] + b"\n")))
    for status, body in (
        (404, resigned(b"\xe2\x80\xa8\n1\n" + HASH)),
        (404, resigned(b"a" * 200_000 + b"\n1\n" + HASH)),
        (403, b"old 0\n\n" + NOTE.split(b"\n\n")[0] + f"\n\n{stranger}\n".encode()),
        (403, GOOD + f"{stranger}\n".encode()),
        (403, GOOD.replace(b"old 0", b"old 2").replace(LOG.name.encode() + b" ", b"some.body ")),
        (422, empty),
        (422, GOOD.replace(b"old 0\n", b"old 0\n" + HASH * 63)),
        (409, GOOD.replace(b"old 0\n", b"old 1\n")),
    ):
        answer = client.post("/add-checkpoint", content=body)
        assert answer.status_code == status, answer.text
        assert len(answer.content) < 1000
    assert client.get("/" + "0" * 64 + "/checkpoint").status_code == 404


def talk(witness: WitnessProcess, raw: bytes) -> bytes:
    """Send bytes; return the first of what is answered."""
    with socket.create_connection(("127.0.0.1", witness.port), timeout=60) as connection:
        connection.sendall(raw)
        return connection.recv(4096)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"POST /\xff HTTP/1.1\r\nhost: w\r\n\r\n", b"CONNECT w:1 HTTP/1.1\r\nhost: w\r\n\r\n",
        b"GET * HTTP/1.1\r\nhost: w\r\n\r\n", b"POST /add-checkpoint%00 HTTP/1.1\r\nhost: w\r\n\r\n",
        b"GET /%ff%fe/checkpoint HTTP/1.1\r\nhost: w\r\n\r\n", b"POST /add-checkpoint HTTP/1.0\r\n\r\n",
        b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /add-checkpoint HTTP/1.1\r\nhost: w\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n",
    ],
)  # fmt: skip
def test_no_bytes_at_all_make_it_fail(witness: WitnessProcess, raw: bytes) -> None:
    assert talk(witness, raw).split()[1] in {b"400", b"404", b"405"}


def test_a_head_without_end_is_cut_before_it_fills_the_memory(witness: WitnessProcess) -> None:
    address = ("127.0.0.1", witness.port)
    with socket.create_connection(address, timeout=60) as connection, pytest.raises(ConnectionError):
        for number in range(10_000):
            connection.sendall(b"%s: %s\r\n" % (b"x-%d" % number if number else b"POST / HTTP/1.1\r\nx", b"a" * 8000))


def test_connections_that_are_only_held_keep_nobody_out(witness: WitnessProcess) -> None:
    with ExitStack() as held:
        for number in range(MAX_CONNECTIONS + 20):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", witness.port), timeout=60))
            connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\n"[: number % 30])
        for _ in range(5):
            answer = httpx.post(f"{witness.url}/add-checkpoint", content=b"", timeout=60)
            assert answer.status_code == 400


def test_who_looks_at_the_state_meanwhile_takes_no_cosignature_back(witness: WitnessProcess) -> None:
    """`govctl audit witness show`, and a second process, open the file that is written to."""
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            WitnessState(witness.directory / "seen.sqlite").all()

    looking = threading.Thread(target=look)
    with httpx.Client(base_url=witness.url, timeout=60, trust_env=False) as client:
        looking.start()
        try:
            told = client.post("/add-checkpoint", content=GOOD).text
            for _ in range(40):
                assert client.post("/add-checkpoint", content=GOOD.replace(b"old 0", b"old 1")).status_code == 200
            for size in range(2, len(LEAVES) + 1):
                note = sign_note(Checkpoint(LOG.name, size, root_of(LEAVES[:size])).to_text(), [LOG])
                told = client.post("/add-checkpoint", content=format_request(size - 1, proof(size), note)).text
                assert told.startswith("\N{EM DASH} "), told
        finally:
            done.set()
            looking.join()
    shown = govctl(witness.directory, "audit", "witness", "show", "--state", "seen.sqlite").stdout
    assert root_of(LEAVES).hex() in shown


def proof(size: int) -> list[bytes]:
    """Return the consistency proof from one leaf less."""
    hashes: list[bytes] = []

    def subproof(old: int, leaves: list[bytes], whole: bool) -> None:
        if old == len(leaves):
            if not whole:
                hashes.append(root_of(leaves))
            return
        split = 1 << (len(leaves) - 1).bit_length() - 1
        if old <= split:
            subproof(old, leaves[:split], whole)
            hashes.append(root_of(leaves[split:]))
        else:
            subproof(old - split, leaves[split:], False)
            hashes.append(root_of(leaves[:split]))

    subproof(size - 1, LEAVES[:size], True)
    return hashes
