"""Documents that law and criteria ask for, filled from register and log, and marked where a person has to write."""

from compliance.documents.writing import DOCUMENTS, GeneratedDocuments

__all__ = ["DOCUMENTS", "GeneratedDocuments"]
