"""What a person reads of a package: one page that needs no network and no script, and prints well."""

from compliance.report.page import REPORT

__all__ = ["REPORT"]
