"""govctl policy: the policies as code. Each module registers its commands on `app`."""

from gateway.cli.policy import activating, bundling, checking, diff, impact, shadowing, testing
from gateway.cli.policy.base import app

__all__ = ["activating", "app", "bundling", "checking", "diff", "impact", "shadowing", "testing"]
