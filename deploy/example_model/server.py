#!/usr/bin/env python3
"""An example of an OpenAI-compatible model server, for trying the gateway out. There is no model in it.

Every answer is one fixed text that says so, sent word by word. One word counts as one token, so that every
usage figure can be checked by counting. It takes any model's name and keeps nothing, and needs no credential
unless it is told to.

    python deploy/example_model/server.py --port 8000 --delay-ms 40
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import socket
import struct
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Document = dict[str, Any]

TEXT = (
    "This is the example server of the gateway, not a model. It gives this text to every question, word by "
    "word, so that you can see a streamed answer arrive. Each word counts as one token. Put a real model "
    "server behind the gateway by naming its address in the configuration; nothing else has to change."
)
DEFAULT_TOKENS = 64
DEFAULT_DIMENSIONS = 8


class BadRequestError(Exception):
    """The request cannot be answered; the message says why."""


def words_in(value: object) -> int:
    """Count the words of every text in a prompt; a list of token numbers counts as many tokens."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, list):
        return sum(words_in(item) for item in value)
    if isinstance(value, dict):
        return words_in(value.get("content", value.get("text", "")))
    return int(isinstance(value, int))


def answer_words(document: Document, limit: int | None) -> tuple[list[str], str]:
    """Return the words of the answer and why it ends. `ignore_eos` repeats the text up to the limit."""
    words = [word if index == 0 else " " + word for index, word in enumerate(TEXT.split())]
    most = DEFAULT_TOKENS if limit is None else limit
    if document.get("ignore_eos"):
        return list(itertools.islice(itertools.cycle(words), most)), "length"
    return words[:most], "stop" if most >= len(words) else "length"


def usage_of(input_tokens: int, output_tokens: int) -> Document:
    """Return usage as chat completions, completions and embeddings name it."""
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }


def prompts_of(value: object) -> list[object]:
    """Return the prompts of a completion or embedding: one, or a list of them."""
    if isinstance(value, list) and value and not isinstance(value[0], int):
        return value
    return [value]


class Call:
    """One request under way: tells when its caller has left, and sends the answer."""

    def __init__(self, receive: Receive, send: Send, delay: float) -> None:
        self._receive = receive
        self._send = send
        self._delay = delay
        self._left: asyncio.Task[None] | None = None

    async def read_document(self) -> Document:
        """Return the body, a JSON object."""
        body = b""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise asyncio.CancelledError
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self._left = asyncio.ensure_future(self._watch())
        try:
            document = json.loads(body)
        except ValueError as error:
            raise BadRequestError(f"the body is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise BadRequestError("the body is not a JSON object")
        return document

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def think(self, words: int = 1) -> None:
        """Take the time of so many words; end the call if its caller leaves meanwhile."""
        assert self._left is not None
        if self._delay:
            await asyncio.wait({self._left}, timeout=self._delay * words)
        else:
            await asyncio.sleep(0)
        if self._left.done():
            raise asyncio.CancelledError

    async def answer(self, document: Document, status: int = 200) -> None:
        """Send a whole answer."""
        body = json.dumps(document).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def begin_stream(self) -> None:
        """Send the head of a stream of server-sent events."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def event(self, data: Document | str, name: str = "") -> None:
        """Send one event."""
        text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
        head = f"event: {name}\n" if name else ""
        body = f"{head}data: {text}\n\n".encode()
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end_stream(self) -> None:
        """Send the end of a stream."""
        await self._send({"type": "http.response.body", "body": b""})

    def close(self) -> None:
        """Stop watching for the caller's leaving."""
        if self._left is not None:
            self._left.cancel()


class ExampleServer:
    """The ASGI application.

    Attributes:
        running: calls under way; `GET /stats` shows it, so that a test can see a cancelled call end.
        served: calls that were answered to their end.
        cancelled: calls whose caller left before.
    """

    def __init__(self, delay: float, key_file: Path | None = None) -> None:
        self._key_file = key_file
        self._delay = delay
        self.running = 0
        self.served = 0
        self.cancelled = 0
        self._routes = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._completions,
            "/v1/embeddings": self._embeddings,
            "/v1/responses": self._responses,
        }

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3)."""
        call = Call(receive, send, self._delay)
        handler = self._routes.get(scope["path"])
        if self._key_file is not None and not self._has_key(scope):
            await call.answer(error_document("the key is missing or wrong"), 401)
            return
        if scope["method"] == "GET":
            await self._get(scope["path"], call)
            return
        if handler is None or scope["method"] != "POST":
            await call.answer(error_document("there is no such route"), 404)
            return
        self.running += 1
        try:
            await handler(call, await call.read_document())
            self.served += 1
        except BadRequestError as error:
            await call.answer(error_document(str(error)), 400)
        except asyncio.CancelledError:
            self.cancelled += 1
        finally:
            self.running -= 1
            call.close()

    def _has_key(self, scope: MutableMapping[str, Any]) -> bool:
        """Whether a request shows the key that the file has at this moment."""
        assert self._key_file is not None
        expected = b"Bearer " + self._key_file.read_bytes().strip()
        return any(
            name == b"authorization" and hmac.compare_digest(value, expected) for name, value in scope["headers"]
        )

    async def _get(self, path: str, call: Call) -> None:
        if path == "/v1/models":
            model = {"id": "example-chat", "object": "model", "created": 0, "owned_by": "example"}
            await call.answer({"object": "list", "data": [model]})
        elif path == "/stats":
            await call.answer({"running": self.running, "served": self.served, "cancelled": self.cancelled})
        elif path == "/health":
            await call.answer({"status": "ok"})
        else:
            await call.answer(error_document("there is no such route"), 404)

    async def _chat(self, call: Call, document: Document) -> None:
        limit = document.get("max_completion_tokens") or document.get("max_tokens")
        await self._generate(call, document, [document.get("messages")], limit, chat=True)

    async def _completions(self, call: Call, document: Document) -> None:
        prompts = prompts_of(document.get("prompt"))
        await self._generate(call, document, prompts, document.get("max_tokens"), chat=False)

    async def _generate(
        self, call: Call, document: Document, prompts: list[object], limit: int | None, *, chat: bool
    ) -> None:
        words, reason = answer_words(document, limit)
        inputs = [words_in(prompt) for prompt in prompts]
        count = document.get("n") or 1
        head = {
            "id": ("chatcmpl-" if chat else "cmpl-") + uuid.uuid4().hex,
            "created": int(time.time()),
            "model": document.get("model"),
        }
        kind = "chat.completion" if chat else "text_completion"
        indexes = range(count * len(prompts))
        total = usage_of(sum(inputs), len(words) * len(indexes))
        if not document.get("stream"):
            await call.think(len(words))
            text = "".join(words)
            result = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            choices = [{"index": i, **result, "logprobs": None, "finish_reason": reason} for i in indexes]
            await call.answer({**head, "object": kind, "choices": choices, "usage": total})
            return
        options = document.get("stream_options") or {}
        include = options.get("include_usage", False)
        continuous = include and options.get("continuous_usage_stats", False)
        head["object"] = "chat.completion.chunk" if chat else kind
        await call.begin_stream()
        for position, piece in enumerate(pieces(words, reason, chat=chat)):
            await call.think()
            for index in indexes:
                chunk = {**head, "choices": [{"index": index, **piece}]}
                if continuous:
                    chunk["usage"] = usage_of(inputs[index // count], min(position + (not chat), len(words)))
                await call.event(chunk)
        if include:
            await call.event({**head, "choices": [], "usage": total})
        await call.event("[DONE]")
        await call.end_stream()

    async def _embeddings(self, call: Call, document: Document) -> None:
        inputs = prompts_of(document.get("input"))
        size = document.get("dimensions") or DEFAULT_DIMENSIONS
        data = []
        for index, text in enumerate(inputs):
            vector: object = example_vector(text, size)
            if document.get("encoding_format") == "base64":
                vector = base64.b64encode(struct.pack(f"<{size}f", *example_vector(text, size))).decode()
            data.append({"object": "embedding", "index": index, "embedding": vector})
        tokens = sum(words_in(text) for text in inputs)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        await call.answer({"object": "list", "data": data, "model": document.get("model"), "usage": usage})

    async def _responses(self, call: Call, document: Document) -> None:
        words, reason = answer_words(document, document.get("max_output_tokens"))
        tokens = words_in(document.get("input")) + words_in(document.get("instructions") or "")
        response = example_response(document)
        item = response["output"][0]
        finished = {
            **response,
            "status": "completed" if reason == "stop" else "incomplete",
            "incomplete_details": None if reason == "stop" else {"reason": "max_output_tokens"},
            "output": [{**item, "status": "completed", "content": [text_part("".join(words))]}],
            "usage": {
                "input_tokens": tokens,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": len(words),
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": tokens + len(words),
            },
        }
        if not document.get("stream"):
            await call.think(len(words))
            await call.answer(finished)
            return
        await call.begin_stream()
        sequence = itertools.count()
        for name, fields in response_events({**response, "output": []}, item, words, finished):
            if name.endswith(".delta"):
                await call.think()
            await call.event({"type": name, "sequence_number": next(sequence), **fields}, name)
        await call.end_stream()


def pieces(words: list[str], reason: str, *, chat: bool) -> Iterator[Document]:
    """Yield the pieces of one streamed choice: for a chat the role first, then the words."""
    if chat:
        yield {"delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    for index, word in enumerate(words):
        end = reason if index == len(words) - 1 else None
        result = {"delta": {"content": word}} if chat else {"text": word}
        yield {**result, "logprobs": None, "finish_reason": end}


def example_vector(text: object, size: int) -> list[float]:
    """Return numbers that depend on the text alone; they mean nothing."""
    stream = hashlib.shake_256(json.dumps(text).encode()).digest(size)
    return [byte / 128 - 1 for byte in stream]


def text_part(text: str) -> Document:
    """Return a part of a response that is text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def example_response(document: Document) -> Document:
    """Return a response of the responses API as it begins."""
    item = {"id": "msg_" + uuid.uuid4().hex, "type": "message", "role": "assistant", "content": []}
    return {
        "id": "resp_" + uuid.uuid4().hex,
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "model": document.get("model"),
        "output": [{**item, "status": "in_progress"}],
        "error": None,
        "incomplete_details": None,
        "instructions": document.get("instructions"),
        "metadata": document.get("metadata") or {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": document.get("tools") or [],
        "top_p": 1.0,
        "store": False,
        "usage": None,
    }


def response_events(
    begun: Document, item: Document, words: list[str], finished: Document
) -> Iterator[tuple[str, Document]]:
    """Yield the names and fields of the events of a streamed response, in the API's order."""
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    text = "".join(words)
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    yield "response.output_item.added", {"output_index": 0, "item": item}
    yield "response.content_part.added", {**place, "part": text_part("")}
    for word in words:
        yield "response.output_text.delta", {**place, "delta": word, "logprobs": []}
    yield "response.output_text.done", {**place, "text": text, "logprobs": []}
    yield "response.content_part.done", {**place, "part": text_part(text)}
    yield "response.output_item.done", {"output_index": 0, "item": finished["output"][0]}
    name = "response.completed" if finished["status"] == "completed" else "response.incomplete"
    yield name, {"response": finished}


def error_document(message: str) -> Document:
    """Return an error in the API's shape."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def main() -> None:
    """Listen until interrupted; the first line printed tells the address."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="TCP port; 0 takes a free one (default: 8000)")
    parser.add_argument("--delay-ms", type=float, default=40.0, help="time for each word, milliseconds (default: 40)")
    parser.add_argument("--key-file", type=Path, help="file with the key that calls need; read for each of them")
    arguments = parser.parse_args()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((arguments.address, arguments.port))
        listener.listen()  # before the address is told: whoever reads it may connect at once
        print(
            f"Example model server (not a model) on http://{arguments.address}:{listener.getsockname()[1]}",
            flush=True,
        )
        application = ExampleServer(arguments.delay_ms / 1000, arguments.key_file)
        config = uvicorn.Config(
            application, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2
        )
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
