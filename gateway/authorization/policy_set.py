"""One loaded revision of the policies and their data: read, checked as a whole, and never changed after."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import orjson

from audit.canonical import canonical
from audit.errors import CanonicalError
from gateway.authorization.bindings import BindingIndex
from gateway.authorization.builtins import ALLOWED_BUILTINS, OPA_BUILTINS
from gateway.authorization.engine import Reason, System
from gateway.authorization.manifest import Manifest
from gateway.authorization.merging import merged
from gateway.authorization.policy_data import PolicyData, check_policy_data
from gateway.authorization.policy_files import PolicyFiles, parse_policy_files
from gateway.authorization.policy_tree import PolicyTree, read_policy_tree
from gateway.authorization.probe_time import check_time
from gateway.authorization.probes import probe
from gateway.authorization.rego import Module, RegoError, new_engine
from gateway.authorization.rego_ast import check_calls, check_references, packages_of
from gateway.authorization.rego_compile import check_compiles
from gateway.authorization.rego_exact import check_exact
from gateway.errors import ConfigError

ENTRY_POINT = "data.govgateway.authz.decision"
"""The rule that decides."""

EngineName = Literal["embedded", "opa"]
"""Who decides by the policies."""

_STARTS_WITH_FILE = re.compile(r"[^\s:]+\.rego:")


@dataclass(frozen=True, slots=True)
class LoadedPolicySet:
    """A `PolicySet` read from a directory or a bundle. Immutable, and free to move between threads.

    Attributes:
        revision: revision of the bundle manifest, else `sha256:` and the digest of `modules` and data.
        data_digest: SHA-256 of `data_json` (hex).
        modules: the Rego files that decide.
        tests: the Rego tests beside them; they decide nothing.
        data_json: the data document, canonical (RFC 8785).
        manifest: the bundle manifest.
        tables: the tables that the gateway itself reads.
    """

    revision: str
    data_digest: str
    modules: tuple[Module, ...]
    tests: tuple[Module, ...]
    data_json: str = field(repr=False)
    manifest: Manifest
    tables: PolicyData = field(repr=False)
    _deciding: tuple[Module, ...] = field(repr=False)
    _bindings: BindingIndex = field(repr=False)
    _systems: Mapping[str, System] = field(repr=False)
    _reasons: Mapping[str, Reason] = field(repr=False)
    _limits: tuple[Mapping[str, Any], ...] = field(repr=False)

    def roles_of(self, principal_id: str, team: str, kind: str, *, now: int) -> tuple[str, ...]:
        """Return the sorted roles bound to the principal by id, team or kind at `now` (UNIX seconds)."""
        return self._bindings.roles(principal_id, team, kind, now)

    def break_glass_of(self, principal_id: str, team: str, kind: str, *, now: int) -> tuple[str, ...]:
        """Return those of its roles that the principal holds at `now` (UNIX seconds) through break-glass alone."""
        return self._bindings.break_glass(principal_id, team, kind, now)

    def system(self, system_id: str) -> System | None:
        """Return the AI system of the register, or None if the register does not know it."""
        return self._systems.get(system_id)

    def reason(self, code: str) -> Reason:
        """Explain a reason code; an unknown code explains itself by its name."""
        return self._reasons.get(code) or Reason(code, f"The policy refused the call: {code.replace('_', ' ')}.")

    def limits(self) -> tuple[Mapping[str, Any], ...]:
        """Return the quota limits, as written in `data.govgateway.limits.quota`."""
        return self._limits

    def new_engine(self) -> Any:
        """Return a Rego engine with these policies and data. It belongs to the calling thread."""
        return new_engine(self._deciding, self.data_json)


def load_policy_set(directory: Path, *, engine: EngineName = "embedded") -> LoadedPolicySet:
    """Read, check and try out the policies in `directory`, as `load_policy_tree` does.

    Raises:
        ConfigError: a file, rule or entry cannot be used; the message names it, the cause and the remedy.
    """
    return load_policy_tree(read_policy_tree(directory), engine=engine)


def load_policy_tree(tree: PolicyTree, *, engine: EngineName = "embedded") -> LoadedPolicySet:
    """Check and try out the policies of a tree.

    Args:
        tree: the policies.
        engine: who will decide by them. For OPA, builtins and forms are taken in which the embedded engine, which
            tries them out here all the same, differs from it.

    Raises:
        ConfigError: a file, rule or entry cannot be used; the message names it, the cause and the remedy.
    """
    directory = tree.source
    files = parse_policy_files(tree)
    tables = check_policy_data(directory, files.data)
    try:
        data = canonical(files.data)
    except CanonicalError as error:
        raise ConfigError(f"{directory}: the data have no canonical form: {error}.") from None
    data_digest = sha256(data).hexdigest()
    try:
        trial = new_engine(files.modules, data.decode())
        allowed = ALLOWED_BUILTINS if engine == "embedded" else OPA_BUILTINS
        _check_modules(trial, files, allowed)
        if engine == "embedded":
            check_exact(trial)
            check_compiles(trial)
        _check_tests(files, allowed)
        # Before anything is evaluated with all of the data: a loop over them would not end.
        check_time(files.modules, files.data, ENTRY_POINT)
        probe(trial, ENTRY_POINT, tables)
        deciding = merged(trial, files.modules)
        probe(new_engine(deciding, data.decode()), ENTRY_POINT, tables)
    except RegoError as error:
        raise ConfigError(_located(directory, f"{error}. Correct it; until then nothing of it is used.")) from None
    except ConfigError as error:
        raise ConfigError(_located(directory, str(error))) from None
    return LoadedPolicySet(
        revision=files.manifest.revision or _digest(files.modules, data_digest),
        data_digest=data_digest,
        modules=files.modules,
        tests=files.tests,
        data_json=data.decode(),
        manifest=files.manifest,
        tables=tables,
        _deciding=deciding,
        _bindings=BindingIndex(tables),
        _systems={name: _system(name, files.data["govgateway"]["systems"][name], tables) for name in tables.systems},
        _reasons={code: Reason(code, entry.message, entry.remedy) for code, entry in tables.reasons.items()},
        _limits=tuple(files.data.get("govgateway", {}).get("limits", {}).get("quota", ())),
    )


def _check_modules(engine: Any, files: PolicyFiles, allowed: frozenset[str]) -> None:
    check_calls(engine, allowed=allowed)
    check_references(engine)
    for name, package in packages_of(engine).items():
        path = package.split(".")[1:]
        if not any(_covers(root, path) for root in files.manifest.roots):
            raise ConfigError(f"{name}:1: the package {'.'.join(path)} is outside the manifest's roots.")
        node: Any = files.data
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if node is not None:
            raise ConfigError(f"{name}:1: data files give {package}, too; data may not stand in for rules.")


def _check_tests(files: PolicyFiles, allowed: frozenset[str]) -> None:
    """Check the tests: OPA loads them with the policies, so they may not add to a package that decides."""
    engine = new_engine((*files.modules, *files.tests))
    names = frozenset(test.name for test in files.tests)
    check_calls(engine, tests=names, allowed=allowed)
    check_references(engine)
    for name, package in packages_of(engine).items():
        if name in names and not package.endswith("_test"):
            raise ConfigError(f"{name}:1: the package of a test ends in _test; {package} decides.")


def _located(directory: Path, message: str) -> str:
    separator = "/" if _STARTS_WITH_FILE.match(message) else ": "
    return f"{directory}{separator}{message}"


def _covers(root: str, path: list[str]) -> bool:
    parts = root.split("/") if root else []
    return path[: len(parts)] == parts


def _digest(modules: tuple[Module, ...], data_digest: str) -> str:
    content = [data_digest, *([module.name, module.text] for module in modules)]
    return "sha256:" + sha256(orjson.dumps(content)).hexdigest()


def _system(name: str, written: Mapping[str, Any], tables: PolicyData) -> System:
    entry = tables.systems[name]
    attributes = {key: value for key, value in written.items() if key not in {"risk", "data_classes"}}
    return System(name, entry.risk, tuple(entry.data_classes), attributes)
