"""Makes the sampled decisions of a package again, by the bundles in it, and names each difference."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from compliance.errors import ComplianceError
from compliance.offline.verify_evidence import GARBAGE, Package, WrongError, parse
from gateway.authorization.bundle.reading import read_bundle
from gateway.authorization.delegated import intersection
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.policy_set import LoadedPolicySet, load_policy_tree
from gateway.errors import ConfigError, PolicyDeniedError


@dataclass(frozen=True, slots=True)
class Replayed:
    """A decision that was made again.

    Attributes:
        leaf: of its record.
        event_id: of its record.
        difference: how the two differ; empty where they are the same.
    """

    leaf: int
    event_id: str
    difference: str


def replay_samples(package: Package) -> Iterator[Replayed]:
    """Yield each decision among the samples of a package, each record once, in the order of the log.

    The package is one that verified: what is read here are its own records and bundles.

    Raises:
        ComplianceError: it has no samples, or they cannot be read.
    """
    if "samples/samples.json" not in package.sizes:
        raise ComplianceError("the package has no samples, so that there is nothing to decide again: no seed was given")
    try:
        samples = package.json("samples/samples.json")["samples"]
        wanted = sorted({(each["leaf"], each["bundle"]) for each in samples if each["bundle"]})
        loaded: dict[str, EmbeddedEngine] = {}
        names: dict[str, LoadedPolicySet] = {}
        for leaf, digest in wanted:
            if digest not in loaded:
                names[digest] = _load(package, digest)
                loaded[digest] = EmbeddedEngine(names[digest])
            record = parse(package.read(f"samples/records/{leaf:012d}.json"), f"record {leaf}")
            yield Replayed(leaf, record["event_id"], _difference(record, names[digest], loaded[digest]))
    except (WrongError, *GARBAGE) as error:
        raise ComplianceError(f"the samples of the package cannot be decided again: {error}") from error


def _load(package: Package, digest: str) -> LoadedPolicySet:
    path = f"bundles/{digest}.tar.gz"
    content = package.read(path)
    if sha256(content).hexdigest() != digest:
        raise ComplianceError(f"{path} is not the bundle that it is named after")
    try:
        return load_policy_tree(read_bundle(content, Path(path), None))
    except ConfigError as error:
        raise ComplianceError(f"{path} cannot be decided by: {error}") from error


def _difference(record: Mapping[str, Any], policies: LoadedPolicySet, engine: EmbeddedEngine) -> str:
    named = (record["policy"]["revision"], record["policy"]["data_digest"])
    if named != (policies.revision, policies.data_digest):
        return f"the record names the revision {named[0]}, the bundle is {policies.revision}"
    inputs = [record["policy_input"], *record.get("delegated_inputs", ())]
    again = intersection([engine.decide_now(each) for each in inputs])
    kind = record["type"]
    by_policy = kind != "access.denied" or record["problem"] == PolicyDeniedError.slug
    if not by_policy:
        return ""  # something else refused the call, before or after the policies
    before = kind == "quota.exceeded" or record["decision"] == "allow"
    if again.allow != before:
        return f"it was {_word(before)} and would be {_word(again.allow)} ({', '.join(again.reasons)})"
    if kind != "quota.exceeded" and list(again.reasons) != list(record["reasons"]):
        return f"it gave the reasons {', '.join(record['reasons'])} and would give {', '.join(again.reasons)}"
    if kind == "access.intent" and [dict(each) for each in again.obligations] != record["obligations"]:
        return f"it asked for {record['obligations']} and would ask for {[dict(each) for each in again.obligations]}"
    return ""


def _word(allowed: bool) -> str:
    return "allowed" if allowed else "denied"
