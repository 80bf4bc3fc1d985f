"""Takes a log out: as JSON Lines, as CSV, as C2SP tiles, or as a bundle that the standalone verifier checks."""

from audit.export.errors import ExportError
from audit.export.run import FORMATS, Exported, ExportRequest, export_log

__all__ = ["FORMATS", "ExportError", "ExportRequest", "Exported", "export_log"]
