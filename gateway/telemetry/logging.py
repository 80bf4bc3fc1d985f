"""Logs: one JSON object a line on standard error, or text for a person; never a secret."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from gateway.secrets.store import Secret

_CONFIDENTIAL = (
    "api_key",
    "apikey",
    "access_key",
    "authorization",
    "cookie",
    "credential",
    "key_pem",
    "passphrase",
    "password",
    "private_key",
    "secret",
    "secret_key",
    "token",
)
"""Names, alone or after an underscore or a hyphen (`x-api-key`, `client_secret`), of what is never shown."""

_AFTER_ANOTHER_WORD = tuple("_" + name for name in _CONFIDENTIAL)


def configure_logging(level: str, form: str) -> None:
    """Set up structlog, and route the standard library's loggers through it.

    Args:
        level: debug, info, warning or error.
        form: `json` or `console`.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn.access", "asyncio", "httpx"):
        logging.getLogger(noisy).setLevel("WARNING")


def hide_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace secrets, and whatever lies under a confidential name, by `<secret>`."""
    for key, value in event.items():
        event[key] = "<secret>" if _is_confidential(key) else _hidden(value)
    return event


def _hidden(value: Any) -> Any:
    if isinstance(value, Secret):
        return "<secret>"
    if isinstance(value, Mapping):
        return {key: "<secret>" if _is_confidential(key) else _hidden(inner) for key, inner in value.items()}
    if type(value) in {list, tuple, set, frozenset}:
        return [_hidden(item) for item in value]
    return value


def _is_confidential(key: object) -> bool:
    name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
    name = name.lower().replace("-", "_")
    return name in _CONFIDENTIAL or name.endswith(_AFTER_ANOTHER_WORD)
