"""Parameters of a request that the gateway reads, bounds or refuses; what it does not know passes through.

A model server accepts more than its API promises: places to fetch from, templates to run, names of tensors,
hosts to exchange caches with, states that other callers left. None of that is a request's to choose.
`REFUSED` lists these keys, each with its reason; a value that is empty, zero, false or null asks for nothing
and passes.

Keys the gateway reads are refused in any other letter case, because servers differ on whether `Model` is
`model`, and under the other names that servers know for them.
"""

from collections.abc import Iterable
from typing import Any

from gateway.errors import RequestError
from gateway.protocols.openai.routes import MAX_MODEL_NAME, ROUTES, Route

MAX_TOKENS = 2**31 - 1
"""Largest output bound that is understood at all (tokens); the model's own bound is far below."""

MAX_CHOICES = 128
"""Most completions asked for at once (`n`, `best_of`)."""


_STATE = "it refers to what the model server stored, and nothing tells whose it is"
_STORE = "it leaves content on the model server, outside of the audit log's reach"
_FETCH = "it makes the model server contact a place that the request chooses"
_CODE = "it makes the model server run what the request brings"
_FILE = "it names a file on the model server"
_TENSOR = "it hands the model server a serialised tensor to load"
_ORDER = "it takes precedence over other callers"
_UNSEEN = "it reaches the model past what the policy sees"
_BACKEND = "it belongs between the gateway and its model servers"
_MEDIA = "it changes how many tokens an image or recording takes"

REFUSED: dict[str, str] = {
    # kept on the server
    "background": _STATE,
    "previous_response_id": _STATE,
    "conversation": _STATE,
    "session_params": _STATE,
    "request_id": _STATE,
    "rid": _STATE,
    "store": _STORE,
    # run by the server
    "chat_template": _CODE,
    "logits_processors": _CODE,
    "custom_logit_processor": _CODE,
    "web_search_options": _FETCH,
    "mcp_servers": _FETCH,
    # destinations and files
    "kv_transfer_params": _FETCH,
    "ec_transfer_params": _FETCH,
    "bootstrap_host": _FETCH,
    "bootstrap_port": _FETCH,
    "bootstrap_room": _FETCH,
    "disaggregated_params": _FETCH,
    "nvext": _BACKEND,
    "data_parallel_rank": _BACKEND,
    "routed_dp_rank": _BACKEND,
    "disagg_prefill_dp_rank": _BACKEND,
    "api_base": _FETCH,
    "base_url": _FETCH,
    "api_key": _BACKEND,
    "custom_llm_provider": _FETCH,
    "extra_headers": _BACKEND,
    "lora_path": _FILE,
    "lora_request": _FILE,
    # past the policy and the bounds
    "prompt_embeds": _TENSOR,
    "input_embeds": _TENSOR,
    "mm_processor_kwargs": _MEDIA,
    "media_io_kwargs": _MEDIA,
    "vllm_xargs": _UNSEEN,
    "previous_input_messages": _UNSEEN,
    "previous_response": _UNSEEN,
    "fallbacks": _UNSEEN,
    "models": _UNSEEN,
    "priority": _ORDER,
}

_LIMIT_KEYS = frozenset(key for route in ROUTES.values() for key in route.limit_keys)
_OTHER_LIMIT_KEYS = frozenset({"max_new_tokens", "max_length", "n_predict", "num_predict", "max_gen_len"})
_READ = frozenset(
    {"model", "stream", "stream_options", "n", "best_of", "messages", "prompt", "input", "tools", "functions"}
    | {"encoding_format", "service_tier", "chat_template_kwargs", "suffix", "instructions"}
)
_PLAIN = frozenset(
    {"temperature", "top_p", "stop", "seed", "user", "frequency_penalty", "presence_penalty", "logprobs"}
    | {"top_logprobs", "response_format", "tool_choice", "parallel_tool_calls", "logit_bias", "metadata"}
    | {"reasoning", "reasoning_effort", "text", "include", "truncation", "dimensions", "top_k", "min_p"}
)
_KNOWN = {name: _READ | _PLAIN | set(route.limit_keys) for name, route in ROUTES.items()}
_KNOWN_BY_OPERATION = {route.operation: _KNOWN[name] for name, route in ROUTES.items()}

_STREAM_OPTIONS = frozenset({"include_usage", "continuous_usage_stats", "include_obfuscation"})
_SERVICE_TIERS = frozenset({None, "auto", "default", "flex"})
_TEMPLATE_KEYS = frozenset({"chat_template", "tokenize", "messages", "tools", "documents", "conversation"})


def check_keys(document: dict[str, Any], route: Route) -> None:
    """Refuse keys that only look like the ones the gateway reads, and those of `REFUSED`.

    Raises:
        RequestError: `parameter_case`, `parameter_alias` or `parameter_refused`.
    """
    known = _KNOWN_BY_OPERATION[route.operation]
    for key, value in document.items():
        if key not in known:
            _check_unknown(key, value, route, known)


def _check_unknown(key: str, value: object, route: Route, known: Iterable[str]) -> None:
    folded = key.casefold()
    if folded != key and (folded in known or folded in REFUSED or folded in _LIMIT_KEYS):
        raise refused(
            key,
            f'The key "{key[:40]}" differs only in letter case from "{folded[:40]}".',
            f'Send "{folded[:40]}".',
            "parameter_case",
        )
    if folded in _LIMIT_KEYS or folded in _OTHER_LIMIT_KEYS:
        wanted = f'Send "{route.limit_keys[0]}".' if route.limit_keys else "Leave it out."
        raise refused(key, f'{route.operation} does not bound its output with "{key[:40]}".', wanted, "parameter_alias")
    if value and folded in REFUSED:
        raise refused(
            key,
            f'The parameter "{key}" is refused: {REFUSED[folded]}.',
            "Leave it out.",
            "parameter_refused",
        )


def refused(param: str, detail: str, remedy: str, code: str) -> RequestError:
    """Return a refusal that names the parameter it is about."""
    return RequestError(detail, remedy=remedy, code=code, extensions={"param": param[:100]})


def model_name(document: dict[str, Any]) -> str:
    """Return the model's name.

    Raises:
        RequestError: `model_missing` or `model_invalid`.
    """
    name = document.get("model")
    if type(name) is str and 0 < len(name) <= MAX_MODEL_NAME and name.isprintable():
        return name
    if name is None or name == "":
        raise refused("model", "The request names no model.", 'Send "model".', "model_missing")
    raise refused(
        "model",
        f"model is not a printable string of at most {MAX_MODEL_NAME} characters.",
        "GET /v1/models lists the models you may use.",
        "model_invalid",
    )


def streams(document: dict[str, Any]) -> bool:
    """Return whether the caller asked for a stream, having checked `stream_options` too.

    Raises:
        RequestError: `stream_invalid` or `stream_options_invalid`.
    """
    stream = document.get("stream")
    if stream is not None and type(stream) is not bool:
        raise refused("stream", "stream is neither true nor false.", "Send a boolean.", "stream_invalid")
    options = document.get("stream_options")
    if options is None:
        return bool(stream)
    if not stream:
        raise refused(
            "stream_options",
            "stream_options is given without stream.",
            'Send "stream": true, or leave stream_options out.',
            "stream_options_invalid",
        )
    if type(options) is not dict or any(
        key not in _STREAM_OPTIONS or (value is not None and type(value) is not bool) for key, value in options.items()
    ):
        raise refused(
            "stream_options",
            "stream_options is not an object of known options with boolean values.",
            f"Known are {', '.join(sorted(_STREAM_OPTIONS))}.",
            "stream_options_invalid",
        )
    return True


def output_limit(document: dict[str, Any], route: Route) -> int:
    """Return the output bound the caller named (tokens per choice; 0: none).

    Raises:
        RequestError: `max_tokens_invalid`, `max_tokens_too_large` or `max_tokens_conflict`.
    """
    limit = 0
    for key in route.limit_keys:
        value = document.get(key)
        if value is None:
            continue
        if type(value) is not int or value < 1:
            raise refused(
                key,
                f"{key} is not a positive integer.",
                "Send a number of tokens, 1 or more.",
                "max_tokens_invalid",
            )
        if value > MAX_TOKENS:
            raise refused(
                key,
                f"{key} is larger than any model's context.",
                "Ask for fewer output tokens.",
                "max_tokens_too_large",
            )
        if limit and value != limit:
            raise refused(key, f"{' and '.join(route.limit_keys)} differ.", "Send one of them.", "max_tokens_conflict")
        limit = value
    return limit


def choices(document: dict[str, Any]) -> int:
    """Return how many completions are generated for one prompt.

    Raises:
        RequestError: `choices_invalid`.
    """
    most = 1
    for key in ("n", "best_of"):
        value = document.get(key)
        if value is None:
            continue
        if type(value) is not int or not 1 <= value <= MAX_CHOICES:
            raise refused(
                key,
                f"{key} is not an integer from 1 to {MAX_CHOICES}.",
                "Ask for fewer completions.",
                "choices_invalid",
            )
        most = max(most, value)
    return most


def check_rare(document: dict[str, Any]) -> None:
    """Check parameters that are seldom sent: `service_tier` and `chat_template_kwargs`.

    Raises:
        RequestError: `parameter_refused`.
    """
    tier = document.get("service_tier")
    if tier is not None and (type(tier) is not str or tier not in _SERVICE_TIERS):
        raise refused("service_tier", f"This service_tier is refused: {_ORDER}.", "Leave it out.", "parameter_refused")
    template = document.get("chat_template_kwargs")
    if template is None:
        return
    # Flags such as enable_thinking are what the templates of models take; anything else could replace them.
    if type(template) is not dict or any(
        key.casefold() in _TEMPLATE_KEYS or type(value) not in (bool, int, float, str, type(None))
        for key, value in template.items()
    ):
        raise refused(
            "chat_template_kwargs",
            "chat_template_kwargs holds more than flags of the model's own template.",
            "Send booleans, numbers and strings under names that the template defines.",
            "parameter_refused",
        )
