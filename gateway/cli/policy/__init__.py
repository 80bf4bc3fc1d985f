"""govctl policy: the policies as code. Each module registers its commands on `app`."""

from gateway.cli.policy import access, activating, bundling, checking, diff, explaining, impact, shadowing, testing
from gateway.cli.policy.base import app

__all__ = [
    "access",
    "activating",
    "app",
    "bundling",
    "checking",
    "diff",
    "explaining",
    "impact",
    "shadowing",
    "testing",
]
