"""What the records of the log say: one typed, versioned definition a record type, and its JSON Schema."""

from audit.events.base import EventDefinition, Record, RetentionClass, Severity
from audit.events.registry import EVENTS
from audit.events.validation import validate_record

__all__ = ["EVENTS", "EventDefinition", "Record", "RetentionClass", "Severity", "validate_record"]
