"""Turns one parsed body into the call that the policy sees and the quota is reserved for."""

from typing import Any

from gateway.protocols.base import Call
from gateway.protocols.openai import content, parameters, tools
from gateway.protocols.openai.parameters import refused
from gateway.protocols.openai.routes import CHAT, COMPLETIONS, EMBEDDINGS, Route
from gateway.protocols.openai.seen import Seen

MAX_PROMPTS = 2048
"""Most prompts or inputs in one request."""

MAX_ALL_CHOICES = 4096
"""Most completions of one request, all prompts together."""


def read_request(route: Route, document: dict[str, Any], body: bytes) -> Call:
    """Return the call of a parsed body.

    Raises:
        RequestError: a parameter is missing, ambiguous, out of bounds or refused; `param` names it.
    """
    parameters.check_keys(document, route)
    parameters.check_rare(document)
    model = parameters.model_name(document)
    call = Call("openai", route.operation, route.action, "model", model, route.upstream_path, document, body)
    if route is EMBEDDINGS:
        _read_embeddings(call, document)
        return call
    call.stream = parameters.streams(document)
    call.max_tokens = parameters.output_limit(document, route)
    call.choices = parameters.choices(document)
    if route is COMPLETIONS:
        _read_completions(call, document)
        return call
    seen = Seen()
    if route is CHAT:
        messages = content.read_messages(document, seen)
        tools.read_tools(document.get("tools"), "tools", seen, flat=False)
        tools.read_functions(document.get("functions"), seen)
    else:
        messages = content.read_input_items(document, seen)
        tools.read_tools(document.get("tools"), "tools", seen, flat=True)
        if document.get("prompt") is not None:
            raise refused(
                "prompt",
                "prompt refers to a template stored on the model server, and nothing tells whose it is.",
                "Send the text as input.",
                "parameter_refused",
            )
    call.tools = tuple(seen.tools)
    call.input_tokens_bound = seen.token_bound(len(body), messages)
    return call


def _read_completions(call: Call, document: dict[str, Any]) -> None:
    prompts, bound = content.prompts_bound(document.get("prompt"), "prompt", MAX_PROMPTS)
    suffix = document.get("suffix")
    if suffix is not None:
        _, more = content.prompts_bound(suffix, "suffix", 0)
        bound += more * prompts
    call.input_tokens_bound = bound
    call.choices *= prompts
    if call.choices > MAX_ALL_CHOICES:
        raise refused(
            "n",
            f"The request asks for {call.choices} completions; at most {MAX_ALL_CHOICES} are taken.",
            "Send fewer prompts, or ask for fewer completions of each.",
            "choices_invalid",
        )


def _read_embeddings(call: Call, document: dict[str, Any]) -> None:
    for key in ("messages", "tools", "functions", "prompt"):
        if document.get(key) is not None:
            raise refused(key, f"embeddings takes no {key}.", 'Send the texts as "input".', "parameter_refused")
    if document.get("stream"):
        raise refused("stream", "Embeddings are not streamed.", "Leave stream out.", "stream_invalid")
    if document.get("encoding_format") not in (None, "float", "base64"):
        raise refused(
            "encoding_format",
            "encoding_format is neither float nor base64.",
            "Leave it out.",
            "parameter_refused",
        )
    call.choices, call.input_tokens_bound = content.prompts_bound(document.get("input"), "input", MAX_PROMPTS)
