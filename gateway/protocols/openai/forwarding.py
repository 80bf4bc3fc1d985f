"""The body to forward: the bytes received, or the same document with what the gateway sets."""

from typing import Any

import orjson

from gateway.protocols.base import Call
from gateway.protocols.openai.routes import RESPONSES, Route


def forwarded_body(call: Call, route: Route, *, max_tokens: int, continuous_usage: bool, model: str) -> bytes:
    """Return the body for the backend; the exact bytes received where nothing has to change.

    Set are the model's name on the backend, the output bound, for a stream the options that make the backend
    report usage, and for responses `store: false`, for the default of that API is to keep them.
    """
    document = call.document
    changes: dict[str, Any] = {}
    if model and model != call.resource_id:
        changes["model"] = model
    if max_tokens and max_tokens != call.max_tokens:
        named = [key for key in route.limit_keys if document.get(key) is not None]
        for key in named or route.limit_keys[:1]:
            changes[key] = max_tokens
    if route is RESPONSES:
        if document.get("store") is not False:
            changes["store"] = False
    elif call.stream:
        _ask_for_usage(call, changes, continuous_usage)
    if not changes:
        return call.body
    return orjson.dumps({**document, **changes})


def _ask_for_usage(call: Call, changes: dict[str, Any], continuous_usage: bool) -> None:
    asked = call.document.get("stream_options") or {}
    call.usage_events_added = asked.get("include_usage") is not True
    call.chunk_usage_added = continuous_usage and asked.get("continuous_usage_stats") is not True
    if call.usage_events_added or call.chunk_usage_added:
        options = {**asked, "include_usage": True}
        if continuous_usage:
            options["continuous_usage_stats"] = True
        changes["stream_options"] = options
