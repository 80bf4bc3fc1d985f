"""The meter of a stream: relayed byte for byte, but for usage that only the gateway asked for.

What is taken out: the event at the end that only carries usage, and the `usage` member of the other events,
each only if `prepare` added the wish for it. Where `usage` is the last member, as servers write it, its span
is cut and every other byte stays; elsewhere the event's JSON is written anew.

Usage is what the backend last reported. Servers that report in every event count each choice by itself, so
with several choices the last figures of each are added up until the figures of the whole come. Before any
figure came, `usage` holds an estimate with `known` False: the bound of the input once anything was generated,
and one output token for each piece of content seen.

An error event of the backend ends the stream: what came before it is relayed, then `UpstreamError` is raised.
"""

from typing import Any

import orjson

from gateway.errors import UpstreamError
from gateway.protocols.base import Call, Usage
from gateway.protocols.openai.routes import COMPLETIONS, RESPONSES, Route
from gateway.protocols.openai.usage import read_usage
from gateway.protocols.sse import (
    MAX_EVENT,
    EventError,
    EventSplitter,
    check_event,
    check_size,
    event_data,
    with_data,
)

_MAX_MESSAGE = 300
_LAST_MEMBER = b',"usage":'
_DONE = b"[DONE]"


class StreamMeter:
    """Watches one stream."""

    __slots__ = (
        "_bound",
        "_by_choice",
        "_choices",
        "_cut_figures",
        "_cut_last_event",
        "_failure",
        "_mark",
        "_nested",
        "_prompts",
        "_seen_data",
        "_splitter",
        "usage",
    )

    def __init__(self, call: Call, route: Route) -> None:
        self.usage = Usage()
        self._bound = call.input_tokens_bound
        self._choices = call.choices
        self._prompts = _prompts(call)
        self._by_choice: dict[int, int] = {}
        asked = call.document.get("stream_options") or {}
        self._cut_last_event = call.usage_events_added
        self._cut_figures = call.chunk_usage_added or (
            call.usage_events_added and asked.get("continuous_usage_stats") is not True
        )
        self._mark = route.delta_mark
        self._nested = route is RESPONSES
        self._splitter = EventSplitter()
        self._seen_data = False
        self._failure: UpstreamError | None = None

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the stream and return the whole events among them."""
        if self._failure is not None:
            raise self._failure
        splitter = self._splitter
        plain = data[-2:] == b"\n\n" and b"\r" not in data and not splitter.held and len(data) <= MAX_EVENT
        # Most chunks are whole events without usage: they pass as they are.
        if plain and b'"usage"' not in data and b'"error"' not in data:
            self._count(data)
            return data
        relayed = []
        try:
            if plain and data.find(b"\n\n") == len(data) - 2:
                return self._event(data)
            for event in splitter.split(data):
                relayed.append(self._event(event))  # noqa: PERF401 - an error must not lose the ones before
            check_size(splitter.held)
        except EventError as error:
            self._failure = _garbage(str(error))
        except UpstreamError as error:
            self._failure = error
        if self._failure is not None and not relayed:
            raise self._failure
        return b"".join(relayed)

    def finish(self) -> bytes:
        """Return what is left at a clean end of the stream."""
        if self._failure is not None:
            raise self._failure
        rest = self._splitter.rest()
        ended = rest.strip(b"\r\n")
        if ended and ended not in (b"data: " + _DONE, b"data:" + _DONE):
            raise _garbage("the stream ends in the middle of an event")
        if not self._seen_data:
            raise _garbage("the stream holds no event")
        return rest

    def _count(self, events: bytes) -> None:
        usage = self.usage
        if not usage.known:
            pieces = events.count(self._mark)
            if pieces:
                usage.input_tokens = self._bound
                usage.output_tokens += pieces
        if not self._seen_data:
            self._seen_data = b"data:" in events

    def _event(self, event: bytes) -> bytes:
        check_event(event)
        if b'"usage"' not in event and b'"error"' not in event:
            self._count(event)
            return event
        # Blank lines before an event belong to none, and stay.
        bare = event.lstrip(b"\r\n")
        blank = event[: len(event) - len(bare)]
        self._seen_data = True
        return blank + (self._cut_last_member(bare) or self._read(bare))

    def _cut_last_member(self, event: bytes) -> bytes:
        """Cut `usage` from the end of a one-line event without parsing the rest; empty where it is not there.

        In valid JSON an unescaped `,"usage":` begins a member, and if a whole value and the closing brace
        of the document follow it, that member is the document's own.
        """
        if not self._cut_figures or self._choices > 1 or b'"error"' in event or b'"choices":[{' not in event:
            return b""
        at = event.rfind(_LAST_MEMBER)
        if at < 0 or event[:7] != b"data: {" or event[-3:] != b"}\n\n" or event.count(b"\n") != 2:
            return b""
        try:
            figures = read_usage(orjson.loads(event[at + len(_LAST_MEMBER) : -3]))
        except orjson.JSONDecodeError:
            return b""
        if figures is None:
            return b""
        self._known(*figures)
        return event[:at] + b"}\n\n"

    def _read(self, event: bytes) -> bytes:
        """Read an event in full; return it without the usage that the caller did not ask for."""
        data = event_data(event)
        if not data.strip() or data.startswith(_DONE):
            return event
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise _garbage("an event of the stream is not JSON") from None
        if type(document) is not dict:
            return event
        if document.get("error"):
            raise _failed(document["error"])
        self._take(document)
        if not self.usage.known:
            self._count(event)
        if "usage" not in document or self._nested:
            return event
        usage = document["usage"]
        if usage is not None and document.get("choices") == []:
            return b"" if self._cut_last_event else event
        # With the wish for a last event, servers add `usage: null` to all others.
        if self._cut_last_event if usage is None else self._cut_figures:
            return _without_usage(event, data, document)
        return event

    def _take(self, document: dict[str, Any]) -> None:
        holder = document.get("response") if self._nested else document
        figures = read_usage(holder.get("usage")) if type(holder) is dict else None
        if figures is None:
            return
        choices = document.get("choices")
        if self._choices == 1 or self._nested or not choices:
            self._known(*figures)
            return
        index = choices[0].get("index") if type(choices) is list and type(choices[0]) is dict else None
        if type(index) is int and 0 <= index < self._choices:
            self._by_choice[index] = figures[1]
            # With several prompts an event tells the input of its own prompt only.
            self._known(figures[0] if self._prompts == 1 else self._bound, sum(self._by_choice.values()))

    def _known(self, input_tokens: int, output_tokens: int) -> None:
        usage = self.usage
        usage.input_tokens = input_tokens
        usage.output_tokens = output_tokens
        usage.known = True


def _prompts(call: Call) -> int:
    if call.operation != COMPLETIONS.operation:
        return 1
    prompt = call.document["prompt"]
    return len(prompt) if type(prompt) is list and type(prompt[0]) is not int else 1


def _without_usage(event: bytes, data: bytes, document: dict[str, Any]) -> bytes:
    usage = document.pop("usage")
    at = data.rfind(_LAST_MEMBER)
    try:
        if at >= 0 and orjson.loads(data[at + len(_LAST_MEMBER) : -1]) == usage:
            return with_data(event, data[:at] + b"}")
    except orjson.JSONDecodeError:
        pass
    return with_data(event, orjson.dumps(document))


def _failed(error: object) -> UpstreamError:
    message = error.get("message") if type(error) is dict else error
    told = message[:_MAX_MESSAGE] if type(message) is str else ""
    return UpstreamError(
        f"The model server reported an error in the middle of its answer: {told}"
        if told
        else "The model server reported an error in the middle of its answer.",
        code="upstream_stream_error",
    )


def _garbage(what: str) -> UpstreamError:
    return UpstreamError(
        f"The model server's stream cannot be understood: {what}.",
        remedy="The operator has to look at the model server.",
        code="upstream_garbage",
    )
