"""Whose cosignatures a checkpoint needs: a policy file in the form of C2SP tlog-policy."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from audit.errors import AuditError
from audit.tlog.errors import NoteError
from audit.tlog.note import COSIGNATURE, ML_DSA_44, NoteVerifier, VerifiedSignature, parse_verifier_key

_NONE = "none"


class WitnessPolicyError(AuditError, ValueError):
    """A policy file is malformed."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness of the policy.

    Attributes:
        name: its name in the file.
        key: what verifies its cosignatures.
        url: its submission prefix; empty where only verifying is wanted.
    """

    name: str
    key: NoteVerifier
    url: str


@dataclass(frozen=True, slots=True)
class _Group:
    threshold: int
    members: tuple[str, ...]


@dataclass(slots=True)
class WitnessPolicy:
    """Logs, witnesses and the quorum.

    Attributes:
        logs: keys of the logs.
        witnesses: by name.
        quorum: name of the witness or group that has to be satisfied; `none` for no cosignature at all.
    """

    logs: list[NoteVerifier] = field(default_factory=list)
    witnesses: dict[str, Witness] = field(default_factory=dict)
    quorum: str = ""
    _groups: dict[str, _Group] = field(default_factory=dict)

    def verifiers(self) -> list[NoteVerifier]:
        """Return the keys of the witnesses."""
        return [witness.key for witness in self.witnesses.values()]

    def satisfied(self, signatures: Iterable[VerifiedSignature]) -> bool:
        """Whether these verified cosignatures make the quorum."""
        return self._holds(self.quorum, self._seen(signatures))

    def explain(self, signatures: Iterable[VerifiedSignature]) -> str:
        """Say in words what the quorum asks for, and who of it is missing."""
        seen = self._seen(signatures)
        missing = [name for name in self.witnesses if name not in seen]
        wanted = "no cosignature" if self.quorum == _NONE else self._words(self.quorum)
        return f"asked for: {wanted}; cosigned: {', '.join(sorted(seen)) or 'nobody'}; not: {', '.join(missing) or '–'}"

    def _seen(self, signatures: Iterable[VerifiedSignature]) -> set[str]:
        keys = {(signature.name, signature.key_id) for signature in signatures}
        return {name for name, witness in self.witnesses.items() if (witness.key.name, witness.key.key_id) in keys}

    def _holds(self, name: str, seen: set[str]) -> bool:
        if name == _NONE:
            return True
        group = self._groups.get(name)
        if group is None:
            return name in seen
        return sum(self._holds(member, seen) for member in group.members) >= group.threshold

    def _words(self, name: str) -> str:
        group = self._groups.get(name)
        if group is None:
            return name
        return f"{group.threshold} of ({', '.join(self._words(member) for member in group.members)})"


def parse_policy(text: str) -> WitnessPolicy:
    """Parse a policy file.

    Raises:
        WitnessPolicyError: it is malformed; the message names the line.
    """
    policy = WitnessPolicy()
    for number, line in enumerate(text.split("\n"), 1):
        words = line.replace("\t", " ").split(" ")
        words = [word for word in words if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            _take(policy, words[0], words[1:])
        except (NoteError, WitnessPolicyError) as error:
            raise WitnessPolicyError(f"line {number} of the witness policy: {error}") from error
    if not policy.quorum:
        raise WitnessPolicyError("the witness policy has no quorum line; for no witness at all write: quorum none")
    return policy


def _take(policy: WitnessPolicy, kind: str, words: list[str]) -> None:
    match kind, words:
        case "log", [vkey, *rest] if len(rest) <= 1:
            key = parse_verifier_key(vkey)
            _check_new(key, policy.logs)
            policy.logs.append(key)
        case "witness", [name, vkey, *rest] if len(rest) <= 1:
            _check_name(policy, name)
            key = parse_verifier_key(vkey)
            if key.kind not in {COSIGNATURE, ML_DSA_44}:
                raise WitnessPolicyError(f"the key of {name} is no key for cosignatures")
            _check_new(key, policy.verifiers())
            policy.witnesses[name] = Witness(name, key, rest[0].rstrip("/") if rest else "")
        case "group", [name, threshold, *members] if members:
            _check_name(policy, name)
            unknown = [member for member in members if member not in policy.witnesses and member not in policy._groups]
            taken = {member for group in policy._groups.values() for member in group.members}
            again = [member for number, member in enumerate(members) if member in taken or member in members[:number]]
            if unknown or again:
                why = "is defined on no line before" if unknown else "is a member already, and counts once only"
                raise WitnessPolicyError(f"group {name}: {(unknown or again)[0]} {why}")
            policy._groups[name] = _Group(_threshold(threshold, len(members)), tuple(members))
        case "quorum", [name]:
            if policy.quorum:
                raise WitnessPolicyError("there is one quorum line already")
            if name != _NONE and name not in policy.witnesses and name not in policy._groups:
                raise WitnessPolicyError(f"the quorum {name} is defined on no line before")
            policy.quorum = name
        case _:
            raise WitnessPolicyError(f"{kind!r:.40} is no log, witness, group or quorum line")


def _threshold(text: str, members: int) -> int:
    if text == "any":
        return 1
    if text == "all":
        return members
    if not (text.isascii() and text.isdigit() and len(text) < 10) or not 1 <= int(text) <= members:
        raise WitnessPolicyError(f"{text!r:.40} is not all, any, or a number from 1 to {members}")
    return int(text)


def _check_name(policy: WitnessPolicy, name: str) -> None:
    if name == _NONE or name in policy.witnesses or name in policy._groups:
        raise WitnessPolicyError(f"the name {name} is taken")


def _check_new(key: NoteVerifier, known: Iterable[NoteVerifier]) -> None:
    if any(key.public_key == other.public_key for other in known):
        raise WitnessPolicyError(f"the key of {key.name} is there twice")
