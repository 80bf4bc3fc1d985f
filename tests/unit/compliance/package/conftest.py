"""Packages of a small real log."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.audit_log import LogWorld
from tests.support.evidence_world import Auditor, World, fill, make


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("evidence")
    with LogWorld(directory / "audit") as log:
        fill(log)
        yield World(log, directory / "commitments", Ed25519PrivateKey.generate())


@pytest.fixture(scope="session")
def made(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made") / "package"
    make(world, directory)
    return directory


@pytest.fixture
def auditor(made: Path, world: World, tmp_path: Path) -> Auditor:
    shutil.copytree(made, tmp_path / "package")
    return Auditor(tmp_path / "package", world)
