"""Decides controls: asks the populations what each test wants to know, and adds what people supplied."""

from compliance.evaluation.result import (
    ControlResult,
    ControlTestResult,
    DayResult,
    Evaluation,
    PersonResult,
    Status,
)

__all__ = ["ControlResult", "ControlTestResult", "DayResult", "Evaluation", "PersonResult", "Status"]
