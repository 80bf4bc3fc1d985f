"""govctl policy: the policies as code. Each module registers its commands on `app`."""

from gateway.cli.policy import checking
from gateway.cli.policy.base import app

__all__ = ["app", "checking"]
