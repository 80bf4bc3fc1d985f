"""What a request puts in front of the model: messages and their parts; none of it from elsewhere.

Media come in the request itself, as `data:` URLs. A URL of another kind would make the model server fetch it,
from wherever its network reaches: a destination chosen by the request. Files, stored items and video are
refused, the last because nothing bounds its tokens.
"""

from typing import Any

import orjson

from gateway.errors import RequestError
from gateway.protocols.openai.parameters import refused
from gateway.protocols.openai.seen import MESSAGE_TOKENS, Seen
from gateway.protocols.openai.tools import read_tools

_PLAIN_PARTS = frozenset({"text", "input_text", "output_text", "refusal", "thinking", "reasoning_text", "summary_text"})
_MEDIA_PARTS = {
    "image_url": "image_url",
    "input_image": "image_url",
    "audio_url": "audio_url",
    "input_audio": "input_audio",
}
_MEDIA_KEYS = frozenset(
    {"image_url", "audio_url", "video_url", "input_audio", "input_image", "input_video", "file", "file_url"}
    | {"file_id", "file_data", "image_embeds", "audio_embeds", "prompt_embeds", "image_pil", "video", "image"}
    | {"audio", "url"}
)
_ITEMS = frozenset(
    {None, "message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"}
    | {"reasoning"}
)


def read_messages(document: dict[str, Any], seen: Seen) -> int:
    """Check the messages of a chat and return their number.

    Raises:
        RequestError: `messages_invalid`, or as `_read_parts` and `read_tools`.
    """
    messages = document.get("messages")
    if type(messages) is not list or not messages:
        raise refused(
            "messages",
            "messages is not a list with at least one message.",
            "Send the conversation.",
            "messages_invalid",
        )
    for index, message in enumerate(messages):
        if type(message) is not dict or type(message.get("role")) is not str:
            raise _bad_message(f"messages[{index}]")
        content = message.get("content")
        if type(content) is list:
            _read_parts(content, f"messages[{index}].content", seen)
        elif content is not None and type(content) is not str:
            raise _bad_message(f"messages[{index}].content")
        if len(message) > 2:
            _read_rest(message, f"messages[{index}]", seen)
    return len(messages)


def read_input_items(document: dict[str, Any], seen: Seen) -> int:
    """Check the `input` of the responses route and return the number of its items.

    Raises:
        RequestError: `input_invalid`, or as `_read_parts`.
    """
    items = document.get("input")
    if type(items) is str:
        return 1
    if type(items) is not list or not items:
        raise refused("input", "input is neither text nor a list of items.", "Send input.", "input_invalid")
    for index, item in enumerate(items):
        where = f"input[{index}]"
        kind = item.get("type") if type(item) is dict else ""
        if kind is not None and type(kind) is not str:
            kind = ""
        # Without a type an item is a message; anything else without one refers to what a server has stored.
        if kind is None and not {"role", "content"} <= set(item):
            kind = "no type, role and content"
        if kind not in _ITEMS:
            raise refused(
                where,
                f'{where} is of a type that the gateway does not take: "{str(kind)[:40]}".',
                f"Taken are {', '.join(sorted(filter(None, _ITEMS)))}.",
                "input_item_refused",
            )
        for key in ("content", "output", "summary"):
            value = item.get(key)
            if type(value) is list:
                _read_parts(value, f"{where}.{key}", seen)
            elif value is not None and type(value) is not str:
                raise _bad_message(f"{where}.{key}")
        for key in item:
            if key in _MEDIA_KEYS:
                raise _bad_part(f"{where}.{key}")
    return len(items)


def prompts_bound(value: object, key: str, most: int) -> tuple[int, int]:
    """Return how many prompts `value` holds and a bound of their tokens.

    A prompt is a text or a list of token numbers; `value` is one prompt or a list of prompts of one kind.

    Raises:
        RequestError: `prompt_invalid`.
    """
    if type(value) is str:
        return 1, _text_bytes(value) + MESSAGE_TOKENS
    if type(value) is list and value:
        kinds = set(map(type, value))
        if kinds == {int}:
            return 1, len(value) + MESSAGE_TOKENS
        if len(value) <= most:
            if kinds == {str}:
                return len(value), sum(map(_text_bytes, value)) + MESSAGE_TOKENS * len(value)
            if kinds == {list} and all(tokens and set(map(type, tokens)) == {int} for tokens in value):
                return len(value), sum(map(len, value)) + MESSAGE_TOKENS * len(value)
    raise refused(
        key,
        f"{key} is neither text, nor a list of token numbers, nor a list of at most {most} of one of these.",
        f"Send {key} as text.",
        "prompt_invalid",
    )


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _read_rest(message: dict[str, Any], where: str, seen: Seen) -> None:
    """Check what a message has beside role and content."""
    for key, value in message.items():
        if key in _MEDIA_KEYS and value is not None:
            raise _bad_part(f"{where}.{key}")
    if "tools" in message:
        read_tools(message["tools"], f"{where}.tools", seen, flat=False)
    calls = message.get("tool_calls")
    if calls:
        seen.extra += len(orjson.dumps(calls))


def _read_parts(parts: list[Any], where: str, seen: Seen) -> None:
    for index, part in enumerate(parts):
        place = f"{where}[{index}]"
        if type(part) is str:
            continue
        kind = part.get("type") if type(part) is dict else None
        if type(kind) is not str:
            raise _bad_part(place)
        media_key = _MEDIA_PARTS.get(kind)
        if media_key is None and kind not in _PLAIN_PARTS:
            raise _bad_part(place)
        # Servers guess a part's kind from its keys, too: a text part must not smuggle a URL.
        for key, value in part.items():
            if key in _MEDIA_KEYS and key != media_key and value is not None:
                raise _bad_part(f"{place}.{key}")
        if media_key is not None:
            _read_media(part.get(media_key), media_key, place, seen)


def _read_media(value: object, kind: str, place: str, seen: Seen) -> None:
    if kind == "input_audio":
        # Its bytes stay counted as text: no encoder makes more tokens than the recording has bytes.
        if type(value) is not dict or type(value.get("data")) is not str or "url" in value:
            raise _bad_part(place)
        return
    url = value.get("url") if type(value) is dict else value
    family = "data:image/" if kind == "image_url" else "data:audio/"
    if type(url) is not str or not url.startswith(family) or ";base64," not in url[:128]:
        raise refused(
            place,
            f"{place} does not bring its data along: the model server would have to fetch it from a place "
            "that the request chooses.",
            f"Send the data itself as a URL that begins with '{family}…;base64,'.",
            "media_url_refused",
        )
    if kind == "image_url":
        seen.images += 1
        seen.image_bytes += len(url) if url.isascii() else 0


def _bad_message(where: str) -> RequestError:
    return refused(
        where,
        f"{where} is not a message as the API defines it.",
        "A message is an object with a role and with content that is text or a list of parts.",
        "messages_invalid",
    )


def _bad_part(where: str) -> RequestError:
    return refused(
        where,
        f"{where} is content of a kind that the gateway does not take.",
        "Taken are text, images and recordings that the request itself contains; no files, stored items or video.",
        "content_part_refused",
    )
