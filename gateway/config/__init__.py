"""The configuration: its model, and the one place that reads it."""

from gateway.config.digest import config_digest
from gateway.config.loader import config_schema, load_config, show_config
from gateway.config.model import GatewayConfig

__all__ = ["GatewayConfig", "config_digest", "config_schema", "load_config", "show_config"]
