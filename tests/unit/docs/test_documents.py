"""The documents say what the code does."""

from pathlib import Path

from gateway.config.reference import reference

ROOT = Path(__file__).resolve().parents[3]


def test_the_configuration_reference_is_what_the_models_say():
    assert (ROOT / "docs" / "configuration.md").read_text() == reference()
