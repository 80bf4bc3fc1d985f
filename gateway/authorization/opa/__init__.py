"""The policy engine in production: an OPA server, asked over a socket, that the gateway may run itself."""

from gateway.authorization.opa.engine import OpaEngine
from gateway.authorization.opa.process import OpaProcess

__all__ = ["OpaEngine", "OpaProcess"]
