"""The page about the records says what the definitions say."""

from pathlib import Path

from audit.events import EVENTS
from audit.events.reference import reference

ROOT = Path(__file__).resolve().parents[4]


def test_the_written_page_is_that_of_the_definitions() -> None:
    assert (ROOT / "docs" / "audit-records.md").read_text() == reference(), (
        "run: python -m audit.events.reference > docs/audit-records.md"
    )


def test_every_type_has_its_section_with_its_own_fields() -> None:
    page = reference()
    for event in EVENTS.values():
        section = page.partition(f"\n### {event.type}\n")[2].partition("\n#")[0]
        assert event.description in section
        for name in set(event.model.model_fields) - {"v", "log", "chain", "seq", "prev", "event_id", "time", "type"}:
            assert name == "delayed_from" or f"| `{name}` |" in section
