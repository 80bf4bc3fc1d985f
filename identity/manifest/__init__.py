"""Identities and entries as a declarative file: what it may say, what it would change, and changing it."""

from identity.manifest.document import Manifest, export, parse
from identity.manifest.plan import Change, FieldChange, Plan, apply, plan

__all__ = ["Change", "FieldChange", "Manifest", "Plan", "apply", "export", "parse", "plan"]
