"""What a check of the policies finds: where, by which rule, how bad, and what to do about it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]

_RANK: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        severity: `error` keeps the policies from being used, `warning` is most likely a mistake, `info` may be meant.
        rule: the kind of finding, a stable name such as `unused-rule`.
        file: file relative to the policy directory; empty where it concerns none.
        line: line in it; 0 where it concerns none.
        message: what is the matter.
        remedy: what to do about it.
    """

    severity: Severity
    rule: str
    file: str
    line: int
    message: str
    remedy: str

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings, the worst first, then by place; what is said twice of one place is said once."""
    unique = dict.fromkeys(findings)
    return sorted(unique, key=lambda each: (_RANK[each.severity], each.file, each.line, each.rule, each.message))


def count(findings: Iterable[Finding], severity: Severity) -> int:
    """Return how many findings are this bad."""
    return sum(finding.severity == severity for finding in findings)
