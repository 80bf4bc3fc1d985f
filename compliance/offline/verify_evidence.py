#!/usr/bin/env python3
"""Verifies a package of evidence without any part of govgateway.

Needs Python 3.11 or later and the package `cryptography`, nothing else. Reads only, and asks nothing of any network.

    python -I verify_evidence.py PACKAGE --evidence-key KEY --log-key KEY [--system NAME] [--from DAY] [--to DAY]

PACKAGE is a directory or a zip file. The keys come by another way than the package: the evidence key is a PEM file or
its fingerprint (64 hexadecimal digits), the log's key is `name+id+base64` (C2SP signed-note) or a file that holds it.
With --system, --from and --to the package has to be of what you asked for; with --not-before it has to be no older;
with --commitment it has to be the one whose commitment.json you had before you gave your seed.

Exit status: 0 all that is listed as proved is proved; 1 something is wrong; 2 it could not be verified (wrong use, a
file that cannot be read); 3 nothing is wrong, but a key was not given, so nobody vouches for it.

What the formats are: manifest.json (RFC 8785) names every file with its SHA-256; it is the subject of an in-toto
Statement v1 in a DSSE envelope, signed with Ed25519. A population's root is the Merkle root (RFC 6962) over the lines
of its JSON Lines file. commitment.json names these roots and the signed tree of the log; its SHA-256 is in a record of
the log. The samples of a population of n rows are the numbers HMAC-SHA256(key = the seed in UTF-8, message = root ‖
counter), the counter being 8 bytes, big-endian, from 0; each as a big-endian integer modulo n; a row drawn before is
passed over; all rows are taken where n is not above the number asked for. Leaves of the log are drawn alike, with the
root of the tree, from the window. Each record that was drawn is there byte by byte with its proof (C2SP tlog-proof).
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import hmac
import json
import os
import re
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
except ImportError:
    sys.exit("This verifier needs the Python package cryptography: python -m pip install cryptography")
try:
    from cryptography.hazmat.primitives.asymmetric import mldsa
except ImportError:  # older versions
    mldsa = None  # type: ignore[assignment]

TRACED: dict[str, tuple[str, str]] = {
    "access.intent": ("calls", "leaf"),
    "access.denied": ("calls", "leaf"),
    "quota.exceeded": ("calls", "leaf"),
    "access.outcome": ("calls", "outcome_leaf"),
    "identity.issued": ("issuances", "leaf"),
    "policy.activated": ("policy_changes", "leaf"),
    "policy.refused": ("policy_refusals", "leaf"),
    "config.loaded": ("config_changes", "leaf"),
    "gateway.started": ("starts", "leaf"),
    "identity.revoked": ("revocations", "leaf"),
    "agent.status_changed": ("status_changes", "leaf"),
    "incident.opened": ("incidents", "leaf"),
    "oversight.approved": ("oversight", "leaf"),
    "oversight.refused": ("oversight", "leaf"),
    "oversight.overridden": ("oversight", "leaf"),
    "oversight.stopped": ("oversight", "leaf"),
    "admin.request": ("admin_actions", "leaf"),
    "gateway.counts": ("counts", "leaf"),
    "evidence.exported": ("evidence_exports", "leaf"),
}
"""Where each record of a type has to be found: population, and the column that holds its leaf."""

MANIFEST, ENVELOPE, TIMESTAMP = "manifest.json", "manifest.dsse.json", "manifest.dsse.json.tsr"
OUTSIDE = {MANIFEST, ENVELOPE, TIMESTAMP}
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:govgateway:evidence:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
LOG = "log"
ED25519, COSIGNATURE, ML_DSA_44 = 1, 4, 6
KEY_BYTES = {ED25519: 32, COSIGNATURE: 32, ML_DSA_44: 1312}
NAME = r"[A-Za-z0-9_][A-Za-z0-9._()-]{0,127}"
PATH = re.compile(f"{NAME}(/{NAME}){{0,7}}")
DIGEST = re.compile("[0-9a-f]{64}")
FORMULA = frozenset("=+-@\t\r")
MAX_SMALL = 64 << 20
MAX_LINE = 4 << 20
MAX_FILES = 500_000
MAX_WRONG = 50
CHUNK = 1 << 20
SKEW_NS = 5_000_000_000


class UnusableError(Exception):
    """What was given cannot be verified at all."""


class WrongError(Exception):
    """What was given is not what it says it is."""


GARBAGE = (
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    RecursionError,
    OverflowError,
    EOFError,
    OSError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
    zipfile.BadZipFile,
)
"""What a file that is none may make a parser raise."""


class Verdict:
    """Collects what was proved, what was not, and what is wrong."""

    def __init__(self) -> None:
        self.proved: list[str] = []
        self.unproved: list[str] = []
        self.wrong: list[str] = []
        self.facts: dict[str, Any] = {}
        self.keys_missing = False

    def error(self, text: str) -> None:
        self.wrong.append(text)

    def step(self, what: str, check: Callable[..., Any], *given: Any) -> Any:
        """Run a check; what it finds wrong is noted, and the next check goes on. None if it found something."""
        try:
            return check(*given)
        except WrongError as error:
            self.error(str(error))
        except GARBAGE as error:
            self.error(f"{what} cannot be read: {type(error).__name__}: {error!s:.200}")
        return None

    @property
    def status(self) -> int:
        return 1 if self.wrong else 3 if self.keys_missing else 0

    def tell(self, *, as_json: bool) -> int:
        status = self.status
        if as_json:
            names = {"status": status, "ok": status == 0, "proved": self.proved, "not_proved": self.unproved}
            say(json.dumps({**names, "wrong": self.wrong, "facts": self.facts}, indent=2))
            return status
        if self.wrong:
            say("WRONG:")
            for text in self.wrong[:MAX_WRONG]:
                say("  - " + plain(text))
            if len(self.wrong) > MAX_WRONG:
                say(f"  - and {len(self.wrong) - MAX_WRONG} more")
            say("Nothing below holds for the whole while anything is wrong.")
        for title, texts in (("Proved:", self.proved), ("Not proved:", self.unproved)):
            if texts:
                say(title)
                for text in texts:
                    say("  - " + plain(text))
        say({0: "OK", 1: "FAILED", 3: "INCOMPLETE: give --evidence-key and --log-key"}[status])
        return status


# The package as files


class Package:
    """The files of a package, in a directory or a zip file. Nothing of it is believed before it was looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes: dict[str, int] = {}
        self.zip: zipfile.ZipFile | None = None
        try:
            if path.is_dir():
                self._walk()
            elif path.is_file():
                self.zip = zipfile.ZipFile(path)
                self._list(self.zip)
            else:
                raise UnusableError(f"{path} is neither a directory nor a zip file")
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise UnusableError(f"{path} is no package: {error}") from None

    def _walk(self) -> None:
        for directory, folders, files in os.walk(self.path):
            for name in [*folders, *files]:
                full = Path(directory, name)
                mode = full.lstat().st_mode
                inside = full.relative_to(self.path).as_posix()
                if stat.S_ISLNK(mode):
                    raise WrongError(f"{inside} is a link: a package has none")
                if stat.S_ISREG(mode):
                    self._add(inside, full.lstat().st_size)
                elif not stat.S_ISDIR(mode):
                    raise WrongError(f"{inside} is no ordinary file")

    def _list(self, archive: zipfile.ZipFile) -> None:
        end, entries = 0, archive.infolist()
        if len(entries) > MAX_FILES:
            raise WrongError(f"the zip file has {len(entries)} entries, more than {MAX_FILES}")
        for entry in sorted(entries, key=lambda each: each.header_offset):
            name = entry.orig_filename if entry.orig_filename != entry.filename else entry.filename
            if name in self.sizes:
                raise WrongError(f"the zip file has the name {name:.200} twice")
            kind = entry.external_attr >> 16 & 0o170000
            if kind not in (0, stat.S_IFREG) or entry.is_dir():
                raise WrongError(f"{name:.200} in the zip file is no ordinary file")
            if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise WrongError(f"{name:.200} in the zip file is encrypted, or packed in an unknown way")
            if entry.header_offset < end:
                raise WrongError(f"{name:.200} in the zip file lies over another entry")
            end = entry.header_offset + entry.compress_size
            self._add(name, entry.file_size)

    def _add(self, name: str, size: int) -> None:
        if not PATH.fullmatch(name):
            raise WrongError(f"{name!r:.200} is no path of a package: it may lead out of it")
        if len(self.sizes) >= MAX_FILES:
            raise WrongError(f"the package has more than {MAX_FILES} files")
        self.sizes[name] = size

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the content of a file, never more than its size says."""
        if name not in self.sizes:
            raise WrongError(f"{name} is missing")
        left = self.sizes[name]
        with self.zip.open(name) if self.zip is not None else (self.path / name).open("rb") as file:
            while chunk := file.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise WrongError(f"{name} is longer than it says")
                yield chunk
        if left:
            raise WrongError(f"{name} is shorter than it says")

    def read(self, name: str) -> bytes:
        """Return a small file whole."""
        if self.sizes.get(name, 0) > MAX_SMALL:
            raise WrongError(f"{name} is larger than any such file is")
        return b"".join(self.chunks(name))

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of a file, without their ends."""
        rest = b""
        for chunk in self.chunks(name):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
            if len(rest) > MAX_LINE:
                raise WrongError(f"{name} has a line that is longer than {MAX_LINE} bytes")
        if rest:
            raise WrongError(f"{name} ends within a line")

    def json(self, name: str) -> Any:
        """Return a file as JSON in canonical form."""
        return parse(self.read(name), name)


def parse(raw: bytes, what: str) -> Any:
    """Parse canonical JSON; refuse what two programs might read differently."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in items}) != len(items):
            raise ValueError("a name occurs twice")
        return dict(items)

    def refuse(text: str) -> NoReturn:
        raise ValueError(f"it has the number {text:.40}")

    def whole(text: str) -> int:
        if len(text) > 17 or abs(int(text)) > 2**53 - 1:
            refuse(text)
        return int(text)

    try:
        document = json.loads(
            raw.decode(), object_pairs_hook=pairs, parse_float=refuse, parse_constant=refuse, parse_int=whole
        )
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        same = (text if raw.isascii() else canonical(document)).encode() == raw
    except (ValueError, RecursionError) as error:
        raise WrongError(f"{what} is not what it should be: {error!s:.200}") from None
    if not same:
        raise WrongError(f"{what} is not in canonical form (RFC 8785)")
    return document


def canonical(value: Any) -> str:
    """Return the canonical form (RFC 8785) of a value without floats."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(canonical(name) + ":" + canonical(value[name]) for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def text_in(document: Any, *names: str) -> str:
    value = inside(document, *names)
    if not isinstance(value, str):
        raise WrongError(f"{'.'.join(names)} is no text")
    return value


def whole_in(document: Any, *names: str) -> int:
    value = inside(document, *names)
    if type(value) is not int or not 0 <= value < 2**53:
        raise WrongError(f"{'.'.join(names)} is no number")
    return value


def digest_in(document: Any, *names: str) -> str:
    value = text_in(document, *names)
    if not DIGEST.fullmatch(value):
        raise WrongError(f"{'.'.join(names)} is no SHA-256")
    return value


def object_in(document: Any, *names: str) -> dict[str, Any]:
    value = inside(document, *names)
    if not isinstance(value, dict):
        raise WrongError(f"{'.'.join(names)} is no object")
    return value


def list_in(document: Any, *names: str) -> list[Any]:
    value = inside(document, *names)
    if not isinstance(value, list):
        raise WrongError(f"{'.'.join(names)} is no list")
    return value


def inside(document: Any, *names: str) -> Any:
    for name in names:
        if not isinstance(document, dict) or name not in document:
            raise WrongError(f"{'.'.join(names)} is missing")
        document = document[name]
    return document


# Keys, signed notes, checkpoints


class Key:
    """A public key of the log or of a witness."""

    def __init__(self, text: str) -> None:
        name, _, rest = text.strip().partition("+")
        digest, _, material = rest.partition("+")
        try:
            raw = base64.b64decode(material, validate=True)
        except ValueError:
            raw = b""
        if not name or not raw or not re.fullmatch("[0-9a-f]{8}", digest) or any(c.isspace() for c in name):
            raise UnusableError(f"{text!r:.80} is no public key of the form name+id+base64")
        self.name, self.kind, self.public = name, raw[0], raw[1:]
        if len(self.public) != KEY_BYTES.get(self.kind):
            raise UnusableError(f"the key of {name} is of a kind that this verifier does not know: 0x{self.kind:02x}")
        self.id = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
        if self.id.hex() != digest:
            raise UnusableError(f"the key of {name} was changed: its id is not that of the key")
        if self.kind == ML_DSA_44 and mldsa is None:
            raise UnusableError(f"the key of {name} is ML-DSA-44, for which this version of cryptography is too old")

    def check(self, text: bytes, signature: bytes) -> int | None:
        """Verify a signature; return the time it was made at (UNIX seconds), None if it does not say."""
        try:
            if self.kind == ED25519:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
                return None
            time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            if self.kind == COSIGNATURE:
                signed = b"cosignature/v1\ntime %d\n" % time + text
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, signed)
            else:
                mldsa.MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, self._subtree(text, time))
        except (InvalidSignature, ValueError):
            raise WrongError(f"the signature of {self.name} does not verify") from None
        return time

    def _subtree(self, text: bytes, time: int) -> bytes:
        tree = Checkpoint(text + b"\n")
        name, origin = self.name.encode(), tree.origin.encode()
        numbers = (0).to_bytes(8, "big") + tree.size.to_bytes(8, "big")
        message = b"subtree/v1\n\0" + bytes([len(name)]) + name + time.to_bytes(8, "big")
        return message + bytes([len(origin)]) + origin + numbers + tree.root


class Checkpoint:
    """A tree as it was signed: origin (name of the log), size (records) and root."""

    def __init__(self, note: bytes) -> None:
        self.note = note
        end = note.rfind(b"\n\n")
        if end < 0 or not note.endswith(b"\n"):
            raise WrongError("it is no checkpoint: it has no signatures")
        self.text = note[: end + 1]
        try:
            lines = self.text.decode().split("\n")
            below = note[end + 2 :].decode().split("\n")[:-1]
        except UnicodeDecodeError:
            raise WrongError("the checkpoint is not UTF-8") from None
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]) or not re.fullmatch("0|[1-9][0-9]{0,18}", lines[1]):
            raise WrongError("it is no checkpoint")
        if any(c < " " for line in (*lines, *below) for c in line):
            raise WrongError("the checkpoint has control characters")
        self.origin, self.size, self.root = lines[0], int(lines[1]), unbase64(lines[2])
        if len(self.root) != 32:
            raise WrongError("the root in the checkpoint is not a hash")
        self.signatures = []
        for line in below:
            match = re.fullmatch("— ([^ +]+) ([A-Za-z0-9+/=]+)", line)
            raw = unbase64(match[2]) if match else b""
            if match is None or len(raw) < 5:
                raise WrongError(f"{line!r:.60} is no signature line of a checkpoint")
            self.signatures.append((match[1], raw[:4], raw[4:]))

    def signed_by(self, keys: list[Key]) -> dict[Key, int | None]:
        """Return {key: time} of those keys that signed; raise if one of them has a signature that is wrong."""
        return {
            key: key.check(self.text, signature)
            for name, key_id, signature in self.signatures
            for key in keys
            if (key.name, key.id) == (name, key_id)
        }


def check_signature(checkpoint: Checkpoint, keys: list[Key], what: str) -> str:
    """Check that a key of the log signed, and return in words who did."""
    for key in keys:
        if key.name != checkpoint.origin:
            raise WrongError(f"{what} is of the log {checkpoint.origin}, and the key is of {key.name}")
    try:
        signers = checkpoint.signed_by(keys)
    except WrongError as error:
        raise WrongError(f"{what}: {error}") from None
    if not signers:
        raise WrongError(f"{what} is not signed by the key that you gave")
    return ", ".join(f"{key.name} (key {key.id.hex()})" for key in signers)


class Policy:
    """Which witnesses have to have cosigned (C2SP tlog-policy)."""

    def __init__(self, text: str) -> None:
        self.witnesses: dict[str, Key] = {}
        self.groups: dict[str, tuple[int, list[str]]] = {}
        self.quorum = ""
        members: set[str] = set()
        for line in text.split("\n"):
            words = line.split()
            if not words or words[0].startswith("#") or words[0] == "log":
                continue
            known = {"none", *self.witnesses, *self.groups}
            if words[0] == "witness" and len(words) in (3, 4) and words[1] not in known:
                key = Key(words[2])
                if key.kind == ED25519 or any(key.public == other.public for other in self.witnesses.values()):
                    raise UnusableError(f"the key of the witness {key.name} is no key for cosignatures, or there twice")
                self.witnesses[words[1]] = key
            elif words[0] == "group" and len(words) >= 4 and words[1] not in known:
                names = words[3:]
                count = {"any": "1", "all": str(len(names))}.get(words[2], words[2])
                bad = [name for name in names if name not in known or name == "none" or name in members]
                good = re.fullmatch("[0-9]{1,4}", count) and 1 <= int(count) <= len(names)
                if bad or len(set(names)) != len(names) or not good:
                    raise UnusableError(f"the witness policy has a group that is malformed: {line!r:.100}")
                members.update(names)
                self.groups[words[1]] = (int(count), names)
            elif words[0] == "quorum" and len(words) == 2 and words[1] in known and not self.quorum:
                self.quorum = words[1]
            else:
                raise UnusableError(f"the witness policy has a line that is malformed: {line!r:.100}")
        if not self.quorum:
            raise UnusableError("the witness policy has no line `quorum`")

    def met(self, name: str, signed: dict[Key, int | None]) -> bool:
        if name == "none":
            return True
        if name in self.witnesses:
            return self.witnesses[name] in signed
        count, names = self.groups[name]
        return sum(self.met(each, signed) for each in names) >= count


# Trees


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Root:
    """The root over lines (RFC 6962, section 2.1), while they go by."""

    def __init__(self) -> None:
        self.count = 0
        self.stack: list[bytes] = []

    def take(self, line: bytes) -> None:
        hashed, number = hashlib.sha256(b"\x00" + line).digest(), self.count
        while number & 1:
            hashed = node(self.stack.pop(), hashed)
            number >>= 1
        self.stack.append(hashed)
        self.count += 1

    def value(self) -> bytes:
        if not self.stack:
            return hashlib.sha256(b"").digest()
        hashed = self.stack[-1]
        for left in reversed(self.stack[:-1]):
            hashed = node(left, hashed)
        return hashed


def root_by_proof(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    """Return the root that an inclusion proof leads to (RFC 9162, section 2.1.3.2)."""
    at, last, hashed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise WrongError("the inclusion proof is too long")
        if at & 1 or at == last:
            hashed = node(sibling, hashed)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            hashed = node(hashed, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise WrongError("the inclusion proof is too short")
    return hashed


def continues(older: Checkpoint, newer: Checkpoint, proof: list[bytes]) -> bool:
    """Whether a tree continues an older one (RFC 9162, section 2.1.4.2)."""
    if older.origin != newer.origin or not 0 < older.size <= newer.size:
        return False
    if older.size == newer.size:
        return not proof and older.root == newer.root
    hashes, at, last = list(proof), older.size - 1, newer.size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    if at and not hashes:
        return False
    first = second = hashes.pop(0) if at else older.root
    for sibling in hashes:
        if last == 0:
            return False
        if at & 1 or at == last:
            first, second = node(sibling, first), node(sibling, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node(second, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and (first, second) == (older.root, newer.root)


class Proof:
    """That a record is in a tree (C2SP tlog-proof)."""

    def __init__(self, raw: bytes) -> None:
        head, blank, note = raw.partition(b"\n\n")
        lines = head.decode("ascii", "replace").split("\n")
        if not blank or lines.pop(0) != "c2sp.org/tlog-proof@v1":
            raise WrongError("the proof does not begin with c2sp.org/tlog-proof@v1")
        match = re.fullmatch("index (0|[1-9][0-9]{0,18})", lines.pop(0) if lines else "")
        self.hashes = [unbase64(line) for line in lines]
        if match is None or len(lines) > 63 or any(len(each) != 32 for each in self.hashes):
            raise WrongError("the proof is malformed")
        self.index, self.checkpoint = int(match[1]), Checkpoint(note)

    def check(self, record: bytes, what: str) -> None:
        leaf = hashlib.sha256(b"\x00" + record).digest()
        tree = self.checkpoint
        if self.index >= tree.size or root_by_proof(leaf, self.index, tree.size, self.hashes) != tree.root:
            raise WrongError(
                f"{what}: its proof does not lead to the signed root: it is not the record that was signed"
            )


def unbase64(text: str) -> bytes:
    """Return what base64 says; nothing where it is none, or not the one way to write it."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return b""
    return raw if base64.b64encode(raw).decode() == text else b""


# Samples


def draw(seed: str, root: bytes, rows: int, count: int) -> list[int]:
    """Return the places of the rows that a seed draws (see the top of this file)."""
    if rows <= count:
        return list(range(rows))
    drawn: dict[int, None] = {}
    counter = 0
    while len(drawn) < count:
        digest = hmac.digest(seed.encode(), root + counter.to_bytes(8, "big"), "sha256")
        drawn.setdefault(int.from_bytes(digest, "big") % rows)
        counter += 1
    return list(drawn)


def csv_cell(value: Any) -> str:
    kind = type(value)
    if kind is str:
        text = str(value)
        return "'" + text if text[:1] in FORMULA else text
    if value is None:
        return ""
    if kind is bool:
        return "true" if value else "false"
    if kind is list:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return str(value)


class Evidence:
    """One package while it is verified."""

    def __init__(self, package: Package, arguments: argparse.Namespace, verdict: Verdict) -> None:
        self.package, self.asked, self.verdict = package, arguments, verdict
        self.log_keys = [Key(key_text(each)) for each in arguments.log_key]
        self.policy = Policy(text_of(arguments.witness_policy)) if arguments.witness_policy else None
        self.predicate: dict[str, Any] = {}
        self.question: dict[str, Any] = {}
        self.commitment: dict[str, Any] = {}
        self.dictionary: dict[str, Any] = {}
        self.read_checkpoint: Checkpoint | None = None
        self.samples: dict[str, Any] = {}
        self.rows: dict[tuple[str, int], dict[str, Any]] = {}
        self.found: set[tuple[str, str, int]] = set()
        self.records: dict[int, dict[str, Any]] = {}

    @property
    def checkpoint(self) -> Checkpoint:
        if self.read_checkpoint is None:
            raise WrongError("without a checkpoint that can be read nothing else can be held against it")
        return self.read_checkpoint

    def verify(self) -> None:
        step = self.verdict.step
        step(ENVELOPE, self.check_envelope)
        step(MANIFEST, self.check_files)
        step("checkpoint", self.check_checkpoint)
        step("commitment.json", self.check_commitment)
        step("the question", self.check_question)
        step("the record of the commitment", self.check_committed)
        if self.commitment:
            step("samples/samples.json", self.read_samples)
            self.check_populations()
            if self.samples:
                self.check_samples()
        step("spoilt/index.json", self.check_spoilt)
        self.tell_rest()

    # What is signed

    def check_envelope(self) -> None:
        envelope = self.package.json(ENVELOPE)
        if text_in(envelope, "payloadType") != PAYLOAD_TYPE:
            raise WrongError(f"{ENVELOPE} does not hold an in-toto statement")
        payload = unbase64(text_in(envelope, "payload"))
        signatures = list_in(envelope, "signatures")
        kind = PAYLOAD_TYPE.encode()
        signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
        key = self.evidence_key()
        if key is not None:
            named = [each for each in signatures if text_in(each, "keyid") == fingerprint(key)]
            good = [each for each in named if verifies(key, unbase64(text_in(each, "sig")), signed)]
            if not good:
                self.verdict.error(
                    f"{ENVELOPE} is not signed by the evidence key that you gave: the manifest was signed anew by "
                    "somebody else, or changed"
                )
            else:
                self.verdict.proved.append(f"the manifest is signed by the evidence key {fingerprint(key)}")
        statement = parse(payload, "the statement")
        if (text_in(statement, "_type"), text_in(statement, "predicateType")) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise WrongError("the statement is not one of evidence that this verifier knows")
        subjects = list_in(statement, "subject")
        if len(subjects) != 1 or text_in(subjects[0], "name") != MANIFEST:
            raise WrongError("the statement is not about one manifest")
        if digest_in(subjects[0], "digest", "sha256") != hashlib.sha256(self.package.read(MANIFEST)).hexdigest():
            self.verdict.error(f"{MANIFEST} is not the one that was signed: it was changed or replaced")
        self.predicate = object_in(statement, "predicate")

    def evidence_key(self) -> Ed25519PublicKey | None:
        given = self.asked.evidence_key
        if not given:
            self.verdict.keys_missing = True
            self.verdict.unproved.append("who made this package: no evidence key was given, so nobody vouches for it")
            return None
        if DIGEST.fullmatch(given):
            key = pem_key(self.package.read("keys/evidence.pem"), "keys/evidence.pem", WrongError)
            if fingerprint(key) != given:
                raise WrongError("the package is signed with another key than the one whose fingerprint you gave")
            return key
        return pem_key(read(given), given, UnusableError)

    def check_files(self) -> None:
        manifest = self.package.json(MANIFEST)
        if (text_in(manifest, "format"), whole_in(manifest, "version")) != ("govgateway-evidence", 1):
            raise WrongError(f"{MANIFEST} is of a form that this verifier does not know")
        listed: dict[str, dict[str, Any]] = {}
        for entry in list_in(manifest, "files"):
            path = text_in(entry, "path")
            if not PATH.fullmatch(path) or path in listed or path in OUTSIDE:
                raise WrongError(f"{MANIFEST} lists {path!r:.200}, which is no path, or there twice")
            listed[path] = entry
        for path in sorted(self.package.sizes.keys() - listed.keys() - OUTSIDE):
            self.verdict.error(f"{path} was added: the manifest does not name it")
        good, size = 0, 0
        for path, entry in sorted(listed.items()):
            if path not in self.package.sizes:
                self.verdict.error(f"{path} was removed: the manifest names it")
            elif self.package.sizes[path] != whole_in(entry, "size"):
                self.verdict.error(f"{path} was changed: it has another size than the manifest says")
            elif self.verdict.step(path, self.hash_of, path) != digest_in(entry, "sha256"):
                self.verdict.error(f"{path} was changed: it has another SHA-256 than the manifest says")
            else:
                good, size = good + 1, size + self.package.sizes[path]
        self.verdict.facts.update(files=good, bytes=size)
        self.verdict.proved.append(
            f"{good} files are, byte by byte, those that the manifest names, and no other is there"
        )

    def hash_of(self, path: str) -> str:
        digest = hashlib.sha256()
        for chunk in self.package.chunks(path):
            digest.update(chunk)
        return digest.hexdigest()

    # What it is of

    def check_checkpoint(self) -> None:
        self.read_checkpoint = checkpoint = Checkpoint(self.package.read("checkpoint"))
        self.verdict.facts.update(log=checkpoint.origin, size=checkpoint.size, root=checkpoint.root.hex())
        self.check_signed(checkpoint, "the checkpoint")
        if self.policy is None:
            others = sum(1 for name, _, _ in checkpoint.signatures if name != checkpoint.origin)
            self.verdict.unproved.append(
                f"that others saw the same log: {others} cosignatures of witnesses were not looked at (give "
                "--witness-policy)"
            )
        else:
            signed = checkpoint.signed_by(list(self.policy.witnesses.values()))
            if not self.policy.met(self.policy.quorum, signed):
                self.verdict.error(f"the checkpoint lacks cosignatures: the policy asks for more than {len(signed)}")
            for key, time in signed.items():
                when = moment((time or 0) * 10**9)
                self.verdict.proved.append(
                    f"{key.name} saw this tree as the newest of the log, {when} (by its own clock)"
                )
        for path in self.asked.since:
            self.check_known(Checkpoint(read(path)), path)

    def check_known(self, known: Checkpoint, path: str) -> None:
        """Compare with a checkpoint that the auditor has from elsewhere."""
        if self.log_keys:
            check_signature(known, self.log_keys, path)
        if known.origin != self.checkpoint.origin:
            self.verdict.error(f"{path} is of the log {known.origin}, the package of {self.checkpoint.origin}")
        elif known.size > self.checkpoint.size:
            self.verdict.error(
                f"the package is older than {path}: it has {self.checkpoint.size} records, and you know {known.size}"
            )
        else:
            name = f"consistency/{known.size}.json"
            hashes = (
                [bytes.fromhex(str(each)) for each in self.package.json(name)] if name in self.package.sizes else []
            )
            if continues(known, self.checkpoint, hashes):
                self.verdict.proved.append(
                    f"the log continues your checkpoint {path} of {known.size} records, unchanged"
                )
            elif name in self.package.sizes or known.size == self.checkpoint.size:
                self.verdict.error(f"the log was cut or written anew: it does not continue {path}")
            else:
                self.verdict.unproved.append(
                    f"that the log continues {path}: the package has no proof of it (export it with --since)"
                )

    def check_signed(self, checkpoint: Checkpoint, what: str) -> None:
        if self.log_keys:
            signer = check_signature(checkpoint, self.log_keys, what)
            self.verdict.proved.append(f"{what} of {checkpoint.size} records is signed by {signer}")
        else:
            self.verdict.keys_missing = True
            self.verdict.unproved.append(f"who signed {what}: no key of the log was given")

    def check_commitment(self) -> None:
        raw = self.package.read("commitment.json")
        commitment = parse(raw, "commitment.json")
        if text_in(commitment, "format") != "govgateway-evidence-commitment":
            raise WrongError("commitment.json is none")
        tree = (digest_in(commitment, "tree", "root"), whole_in(commitment, "tree", "size"))
        if tree != (self.checkpoint.root.hex(), self.checkpoint.size):
            raise WrongError("commitment.json is of another tree than the checkpoint in the package")
        if self.asked.commitment:
            if read(self.asked.commitment) != raw:
                self.verdict.error("commitment.json is not the one that you had before you gave your seed")
            else:
                self.verdict.proved.append("the populations are those that were committed to before you gave your seed")
        self.question, self.commitment = object_in(commitment, "question"), commitment
        self.dictionary = object_in({"dictionary": self.package.json("populations/dictionary.json")}, "dictionary")
        if text_in(self.question, "log") != self.checkpoint.origin:
            raise WrongError("commitment.json is of another log than the checkpoint")
        if self.predicate and (
            object_in(self.predicate, "question") != self.question
            or digest_in(self.predicate, "commitment") != hashlib.sha256(raw).hexdigest()
        ):
            self.verdict.error("commitment.json is not of what the signed statement says")

    def check_question(self) -> None:
        """Compare with what the auditor asked for."""
        question = self.question or object_in(self.predicate, "question")
        self.question = question
        system, first, last = text_in(question, "system"), text_in(question, "from"), text_in(question, "to")
        self.verdict.facts.update(system=system, first=first, last=last, frameworks=list_in(question, "frameworks"))
        if self.asked.system is not None and self.asked.system != system:
            self.verdict.error(
                f"wrong system: the package is of {system or 'no one system'!r}, not of {self.asked.system!r}"
            )
        for option, wanted, has in (("--from", self.asked.first, first), ("--to", self.asked.last, last)):
            if wanted and wanted != has:
                self.verdict.error(f"wrong period: the package is of {first} to {last}, and {option} is {wanted}")
        if self.asked.system is None or not self.asked.first or not self.asked.last:
            of = f"{system or 'no one system'}, {first} to {last}"
            self.verdict.unproved.append(
                f"that it is the package you asked for: it is of {of} (give --system, --from, --to)"
            )
        else:
            self.verdict.proved.append(f"it is of the system {system or '(all)'} from {first} to {last} (UTC)")

    def check_committed(self) -> None:
        record, proof = (
            self.package.read("committed/record.json"),
            Proof(self.package.read("committed/record.tlog-proof")),
        )
        self.check_signed(proof.checkpoint, "the checkpoint after the commitment")
        proof.check(record, "the record of the commitment")
        document = parse(record, "the record of the commitment")
        if text_in(document, "type") != "evidence.committed" or text_in(document, "log") != proof.checkpoint.origin:
            raise WrongError("the record of the commitment is none")
        if text_in(document, "commitment_sha256") != hashlib.sha256(self.package.read("commitment.json")).hexdigest():
            raise WrongError(
                "the log says that something else was committed to: commitment.json, and the populations with it, were "
                "made anew after the commitment"
            )
        hashes = [bytes.fromhex(str(each)) for each in self.package.json("committed/consistency.json")]
        if not continues(self.checkpoint, proof.checkpoint, hashes):
            raise WrongError(
                "the tree that has the commitment does not continue the tree that the package is of: a fork"
            )
        committed = int(text_in(document, "time"))
        self.verdict.facts["committed_at"] = moment(committed)
        self.verdict.proved.append(f"the roots of all populations were committed to in the log at {moment(committed)}")
        if self.asked.not_before:
            if committed < instant(self.asked.not_before):
                self.verdict.error(
                    f"the package is old: it was committed to at {moment(committed)}, before {self.asked.not_before}"
                )
            else:
                self.verdict.proved.append(f"it is not from before {self.asked.not_before}")
        elif not self.asked.since:
            self.verdict.unproved.append(
                f"that there is no newer one: it is from {moment(committed)} (give --not-before, or --since CHECKPOINT)"
            )

    # Populations

    def check_populations(self) -> None:
        committed = self.verdict.step("commitment.json", object_in, self.commitment, "populations") or {}
        names = {path[12:-6] for path in self.package.sizes if re.fullmatch(r"populations/[a-z0-9_]+\.jsonl", path)}
        for name in sorted(names - committed.keys()):
            self.verdict.error(f"the population {name} was not committed to")
        for name in sorted(self.dictionary.keys() ^ committed.keys()):
            self.verdict.error(f"the population {name} is not both in the dictionary and committed to")
        total = 0
        for name in sorted(committed):
            total += self.verdict.step(f"the population {name}", self.check_population, name) or 0
        self.verdict.facts.update(populations=len(committed), rows=total)
        self.verdict.proved.append(
            f"{len(committed)} populations have the {total} rows, in the order, that were committed to; CSV and JSON "
            "Lines say the same"
        )

    def check_population(self, name: str) -> int:
        committed = object_in(self.commitment, "populations", name)
        columns = [text_in(each, "name") for each in list_in(self.dictionary, name, "columns")]
        system = text_in(self.question, "system") if inside(self.dictionary, name, "per_system") is True else ""
        places = self.wanted_places(name)
        leaves = {column: self.wanted_leaves(name, column) for column in columns if is_leaf(column)}
        shape = set(columns)
        table = csv_rows(self.package, f"populations/{name}.csv")
        if next(table, None) != columns:
            raise WrongError(f"populations/{name}.csv has other columns than the dictionary says")
        root = Root()
        for line in self.package.lines(f"populations/{name}.jsonl"):
            row = parse(line, f"row {root.count} of the population {name}")
            if not isinstance(row, dict) or row.keys() != shape:
                raise WrongError(
                    f"row {root.count} of the population {name} has other columns than the dictionary says"
                )
            if next(table, None) != [csv_cell(row[column]) for column in columns]:
                raise WrongError(f"row {root.count} of the population {name} is another one in CSV")
            if system and row["system"] != system:
                raise WrongError(
                    f"row {root.count} of the population {name} is of another system: {row['system']!r:.80}"
                )
            if root.count in places:
                self.rows[name, root.count] = row
            for column, wanted in leaves.items():
                if row[column] in wanted:
                    self.found.add((name, column, row[column]))
            root.take(line)
        if next(table, None) is not None:
            raise WrongError(f"populations/{name}.csv has more rows than populations/{name}.jsonl")
        check_root(name, root, committed)
        return root.count

    # Samples

    def read_samples(self) -> None:
        if "samples/samples.json" not in self.package.sizes:
            self.verdict.unproved.append("samples: no seed was given when the package was made")
            return
        samples = self.package.json("samples/samples.json")
        seed, count = text_in(samples, "seed"), whole_in(samples, "count")
        if self.asked.seed is not None and self.asked.seed != seed:
            raise WrongError("the samples were drawn with another seed than yours")
        if self.predicate and text_in(self.predicate, "seed") != seed:
            raise WrongError("the samples were drawn with another seed than the signed statement says")
        if whole_in(self.question, "samples") != count:
            raise WrongError("other samples were drawn than the commitment says: another number of them")
        drawn = object_in(samples, "drawn")
        committed = object_in(self.commitment, "populations")
        if drawn.keys() != committed.keys() | {LOG}:
            raise WrongError("samples were not drawn from every population")
        entries = [(text_in(each, "population"), whole_in(each, "place")) for each in list_in(samples, "samples")]
        expected: list[tuple[str, int]] = []
        for name in committed:
            root, rows = bytes.fromhex(digest_in(committed, name, "root")), whole_in(committed, name, "rows")
            expected += [(name, place) for place in draw(seed, root, rows, count)]
        first, end = self.window()
        expected += [(LOG, first + place) for place in draw(seed, self.checkpoint.root, end - first, count)]
        if sorted(entries) != sorted(expected):
            gone = sorted(set(expected) - set(entries))[:3]
            more = sorted(set(entries) - set(expected))[:3]
            raise WrongError(f"a sample was swapped: the seed draws {gone}, and the package has {more}")
        self.samples = samples
        for entry in samples["samples"]:
            for leaf in list_in(entry, "leaves"):
                self.verdict.step(f"the record {leaf}", self.read_record, leaf, entry)
        for leaf in (first - 1, first, end - 1, end):
            if 0 <= leaf < self.checkpoint.size:
                self.verdict.step(f"the record {leaf}", self.read_record, leaf, {})
        whose = "" if self.asked.seed is not None else " (give --seed to see that it is yours)"
        self.verdict.proved.append(f"{len(entries)} samples are those that the seed {seed!r:.100} draws{whose}")

    def window(self) -> tuple[int, int]:
        first, end = whole_in(self.commitment, "window", "first"), whole_in(self.commitment, "window", "end")
        if not first <= end <= self.checkpoint.size:
            raise WrongError("the window of leaves is not in the tree")
        return first, end

    def read_record(self, leaf: Any, entry: dict[str, Any]) -> None:
        """Read a record, prove that it is in the tree, and keep it."""
        if type(leaf) is not int or leaf < 0 or leaf in self.records:
            return
        path = f"samples/records/{leaf:012d}"
        if entry.get("deleted") is True and path + ".json" not in self.package.sizes:
            self.verdict.unproved.append(f"what record {leaf} said: retention deleted it")
            return
        record, proof = self.package.read(path + ".json"), Proof(self.package.read(path + ".tlog-proof"))
        if proof.checkpoint.text != self.checkpoint.text or proof.index != leaf:
            raise WrongError(f"record {leaf}: its proof is of another tree or place")
        proof.check(record, f"record {leaf}")
        document = parse(record, f"record {leaf}")
        if text_in(document, "log") != self.checkpoint.origin:
            raise WrongError(f"record {leaf} is of another log")
        self.records[leaf] = document

    def wanted_places(self, name: str) -> set[int]:
        return {each["place"] for each in self.samples.get("samples", ()) if each["population"] == name}

    def wanted_leaves(self, name: str, column: str) -> set[int]:
        """Return the leaves that were drawn from the log and have to be in this column of this population."""
        drawn = {each["place"] for each in self.samples.get("samples", ()) if each["population"] == LOG}
        return {leaf for leaf in drawn if TRACED.get(str(self.records.get(leaf, {}).get("type"))) == (name, column)}

    def check_samples(self) -> None:
        compared = 0
        for entry in self.samples["samples"]:
            name, place = entry["population"], entry["place"]
            if name != LOG and (name, place) in self.rows:
                row = self.rows[name, place]
                compared += self.verdict.step("a sample", self.check_row, name, place, row) or 0
        self.verdict.proved.append(
            f"{len(self.records)} records of samples are, byte by byte, records of the signed tree; {compared} rows of "
            "populations say of theirs when they were, what and of which system"
        )
        self.verdict.step("the tracing", self.check_tracing)
        self.verdict.step("the window", self.check_window)

    def check_row(self, name: str, place: int, row: dict[str, Any]) -> int:
        """Compare a row with the record that it was made from."""
        what = f"row {place} of the population {name}"
        for column, leaf in row.items():
            if is_leaf(column) and type(leaf) is int and leaf >= 0 and leaf not in self.records:
                raise WrongError(f"{what}: the record of its {column} is not in the package")
        document = self.records.get(row["leaf"])
        if document is None:
            return 0
        if row["event_id"] != document["event_id"] or row["time"] != document["time"]:
            raise WrongError(f"{what} is not what its record says: another event or time")
        if row["day"] != moment(int(document["time"]))[:10]:
            raise WrongError(f"{what} has another day than its record")
        if document["type"] not in list_in(self.dictionary, name, "reads"):
            raise WrongError(f"{what} is made from a record of the type {document['type']:.80}, which it does not read")
        for column in ("system", "action", "operation"):
            if column in row and column in document and row[column] != document[column]:
                raise WrongError(f"{what} says {row[column]!r:.80} as its {column}, and its record says something else")
        return 1

    def check_tracing(self) -> None:
        """Each leaf that was drawn from the log has to be in the population that its type belongs to."""
        start, stop = day_ns(text_in(self.question, "from")), day_ns(text_in(self.question, "to"), 1)
        system = text_in(self.question, "system")
        traced = elsewhere = untyped = 0
        for entry in self.samples["samples"]:
            document = self.records.get(entry["place"]) if entry["population"] == LOG else None
            if document is None:
                continue
            leaf, kind = entry["place"], text_in(document, "type")
            population, column = TRACED.get(kind, ("", ""))
            known = population in self.dictionary
            one_system = known and inside(self.dictionary, population, "per_system") is True
            if known and kind not in list_in(self.dictionary, population, "reads"):
                raise WrongError(f"the population {population} leaves out the records of the type {kind}")
            if not known:
                untyped += 1
            elif (population, column, leaf) in self.found:
                traced += 1
            elif not start <= began_at(document) < stop or (
                system and one_system and document.get("system", "") != system
            ):
                elsewhere += 1
            else:
                self.verdict.error(
                    f"record {leaf} of the log ({kind}, {moment(int(document['time']))}) is not in the population "
                    f"{population}: it was left out, or removed"
                )
        self.verdict.facts.update(traced=traced)
        self.verdict.proved.append(
            f"of the leaves drawn from the log, {traced} are in the population that they belong to, {elsewhere} are of "
            f"another system or day, {untyped} are of types that no population lists one by one"
        )

    def check_window(self) -> None:
        """The records at the edges of the window have to be at the edges of the period."""
        first, end = self.window()
        start, stop = day_ns(text_in(self.question, "from")), day_ns(text_in(self.question, "to"), 1)
        times = {
            leaf: int(text_in(self.records[leaf], "time"))
            for leaf in (first - 1, first, end - 1, end)
            if leaf in self.records
        }
        late, early = times.get(first - 1), times.get(end)
        if (late is not None and start + SKEW_NS <= late < stop) or (
            early is not None and start <= early < stop - SKEW_NS
        ):
            raise WrongError("the window leaves out records of the period")
        self.verdict.proved.append(
            f"the window of the period is leaves {first} to {end - 1}; the records at its edges say so"
        )

    # Copies that have to be rejected

    def check_spoilt(self) -> None:
        index = self.package.json("spoilt/index.json")
        rejected = []
        for entry in list_in({"index": index}, "index"):
            name = text_in(entry, "name")
            try:
                if text_in(entry, "kind") == "population":
                    self.take_population(text_in(entry, "population"), text_in(entry, "path"))
                elif not self.log_keys:
                    continue
                else:
                    self.take_record(text_in(entry, "path"))
            except WrongError:
                rejected.append(name)
            else:
                self.verdict.error(f"the spoilt copy {name} was not rejected: then a good one proves nothing")
        self.verdict.facts["spoilt_rejected"] = rejected
        self.verdict.proved.append(f"{len(rejected)} spoilt copies rejected, as they have to be: {', '.join(rejected)}")

    def take_population(self, name: str, path: str) -> None:
        root = Root()
        for line in self.package.lines(path):
            root.take(line)
        check_root(name, root, object_in(self.commitment, "populations", name))

    def take_record(self, path: str) -> None:
        record, proof = self.package.read(path), Proof(self.package.read(path.removesuffix(".json") + ".tlog-proof"))
        proof.check(record, path)
        check_signature(proof.checkpoint, self.log_keys, path)

    def tell_rest(self) -> None:
        if TIMESTAMP in self.package.sizes:
            self.verdict.unproved.append(
                f"the time in {TIMESTAMP}, not checked here: openssl ts -verify -data {ENVELOPE} -in {TIMESTAMP} "
                "-CAfile tsa.pem, with the authority's certificates in tsa.pem"
            )
        self.verdict.unproved += [
            "that what a record says is true: it is what the gateway wrote down at the time",
            "that rows which were not drawn say what their records say: the log itself shows it (govctl audit export)",
            "that the verdicts of the controls follow from the populations: their queries are in the package, run them",
            "that a sampled decision would be made again: govctl verify-evidence --replay",
            "what COVERAGE.md lists: read it",
        ]


def check_root(name: str, root: Root, committed: dict[str, Any]) -> None:
    rows = whole_in(committed, "rows")
    if root.count != rows:
        raise WrongError(f"the population {name} has {root.count} rows, and {rows} were committed to")
    if root.value().hex() != digest_in(committed, "root"):
        raise WrongError(f"the population {name} has other rows, or in another order, than were committed to")


def csv_rows(package: Package, name: str) -> Iterator[list[str]]:
    """Yield the rows of a CSV (RFC 4180)."""

    def text() -> Iterator[str]:
        for line in package.lines(name):
            yield line.decode() + "\n"

    csv.field_size_limit(MAX_LINE)
    try:
        yield from csv.reader(text(), strict=True)
    except csv.Error as error:
        raise WrongError(f"{name} is no CSV: {error}") from None


def is_leaf(column: str) -> bool:
    return column == "leaf" or column.endswith("_leaf")


def began_at(document: dict[str, Any]) -> int:
    """Return when that began which a record is about (UNIX nanoseconds): a call is of the day of its intent."""
    time = int(text_in(document, "time"))
    intent = document.get("intent")
    if document.get("type") != "access.outcome" or not isinstance(intent, str):
        return time
    began = int(intent.replace("-", "")[:12], 16) * 10**6  # UUIDv7: the first 48 bits are milliseconds
    return min(began, time)


def verifies(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def fingerprint(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def pem_key(raw: bytes, what: str, error: type[Exception]) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(raw)
    except Exception:  # whatever the library says of garbage
        raise error(f"{what} is no public key in PEM, and no fingerprint of one") from None
    if not isinstance(key, Ed25519PublicKey):
        raise error(f"{what} is no Ed25519 public key")
    return key


# Input and output


def day_ns(text: str, more: int = 0) -> int:
    day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=more)
    return int(day.timestamp()) * 10**9


def instant(text: str) -> int:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise UnusableError(f"{text!r:.80} is no day or time; write 2026-11-24 or 2026-11-24T12:00:00Z") from None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()) * 10**9


def moment(time_ns: int) -> str:
    try:
        return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "a time that no calendar has"


def key_text(given: str) -> str:
    return text_of(given) if "+" not in given or (len(given) < 200 and Path(given).exists()) else given


def text_of(path: str) -> str:
    try:
        return read(path).decode()
    except UnicodeDecodeError:
        raise UnusableError(f"{path} is not text") from None


def read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise UnusableError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from None


def plain(text: str) -> str:
    """Escape what could move the cursor of a terminal: parts of it come from the package."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def say(text: str, *, file: Any = None) -> None:
    stream = file or sys.stdout
    stream.write(text.encode(stream.encoding or "utf-8", "backslashreplace").decode(stream.encoding or "utf-8") + "\n")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", metavar="PACKAGE", help="directory or zip file")
    parser.add_argument("--evidence-key", metavar="KEY", default="", help="PEM file, or fingerprint")
    parser.add_argument("--log-key", metavar="KEY", action="append", default=[], help="name+id+base64, or a file")
    parser.add_argument("--witness-policy", metavar="FILE", help="whose cosignatures are required (C2SP tlog-policy)")
    parser.add_argument("--system", help="the AI system that you asked for; '' for the whole organisation")
    parser.add_argument("--from", dest="first", default="", metavar="DAY", help="the first day that you asked for")
    parser.add_argument("--to", dest="last", default="", metavar="DAY", help="the last day that you asked for")
    parser.add_argument("--not-before", default="", metavar="TIME", help="it may not be older")
    parser.add_argument("--since", action="append", default=[], metavar="CHECKPOINT", help="a checkpoint that you have")
    parser.add_argument("--commitment", default="", metavar="FILE", help="the commitment.json that you have")
    parser.add_argument("--seed", help="the seed that you gave")
    parser.add_argument("--json", action="store_true", help="print JSON")


def verify(arguments: argparse.Namespace) -> Verdict:
    """Verify a package, and return what was found."""
    verdict = Verdict()
    if arguments.not_before:
        instant(arguments.not_before)
    try:
        package = Package(Path(arguments.package))
    except WrongError as error:
        verdict.error(str(error))
        return verdict
    Evidence(package, arguments, verdict).verify()
    return verdict


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0], epilog="Exit status: 0 proved, 1 wrong, 2 unusable, 3 no key."
    )
    add_options(parser)
    arguments = parser.parse_args(argv)
    try:
        return verify(arguments).tell(as_json=arguments.json)
    except UnusableError as error:
        say(f"Cannot verify: {plain(str(error))}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
