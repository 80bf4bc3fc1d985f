"""What is recorded of the inventory fits into a record, however much there is of it."""

from audit.chain import MAX_RECORD_BYTES
from gateway.inventory_records import ROOM_BYTES, entry, within_room


def test_all_texts_are_recorded_where_there_is_room():
    assert within_room(["a", "b"]) == (["a", "b"], 0)
    assert "selectors_left_out" not in entry({"entry_id": "1", "selectors": ["unix:uid:1"]})


def test_what_has_no_room_is_counted():
    texts = ["s" * 2000] * 64
    kept, left_out = within_room(texts)
    assert 0 < len(kept) < 64
    assert len(kept) + left_out == 64
    assert sum(map(len, kept)) <= ROOM_BYTES < MAX_RECORD_BYTES
    recorded = entry({"entry_id": "1", "selectors": texts})
    assert (recorded["selectors"], recorded["selectors_left_out"]) == (kept, left_out)
