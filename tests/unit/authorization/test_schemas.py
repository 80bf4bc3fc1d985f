"""The JSON Schemas beside the documentation are those of the models, and every data file names its own."""

import json
import re
from pathlib import Path

import pytest

from gateway.authorization.policy_data import PolicyData
from gateway.authorization.schemas import schemas, write_schemas

ROOT = Path(__file__).resolve().parents[3]
WRITTEN = ROOT / "docs" / "schemas" / "policy"
DATA_FILES = sorted((ROOT / "policies" / "govgateway").glob("*/data.yaml"))


def test_written_schemas_are_those_of_the_models(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    ours = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert ours == {path.name: path.read_text() for path in WRITTEN.iterdir()}, (
        "run: python -m gateway.authorization.schemas docs/schemas/policy"
    )


def test_schema_of_a_table_that_is_gone_is_removed(tmp_path: Path) -> None:
    (tmp_path / "former.json").write_text("{}")
    write_schemas(tmp_path)
    assert not (tmp_path / "former.json").exists()


def test_there_is_a_schema_and_a_starter_file_for_every_table() -> None:
    tables = set(PolicyData.model_fields)
    assert set(schemas()) == tables == {path.parent.name for path in DATA_FILES}


@pytest.mark.parametrize("path", DATA_FILES, ids=lambda path: path.parent.name)
def test_data_file_names_the_schema_of_its_table(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found
    assert (path.parent / found[1]).resolve() == WRITTEN / f"{path.parent.name}.json"


@pytest.mark.parametrize("table", sorted(PolicyData.model_fields))
def test_schema_refuses_unknown_keys_where_the_loader_does(table: str) -> None:
    schema = json.loads((WRITTEN / f"{table}.json").read_text())
    open_models = {"RegisteredSystem", "Oversight"}
    for name, model in {**schema.get("$defs", {}), "": schema}.items():
        if model.get("properties"):
            assert model["additionalProperties"] is (name in open_models), name
