"""Carries an attestation over two HTTP requests where the node is asked back: bounded in number and in time."""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from identity.attestation.base import AttestationError, AttestationUnavailableError, Attested, NodeAttestor

MAX_OPEN = 1000
ANSWER_SECONDS = 30.0
"""Time that a node has for its answer."""

STEP_SECONDS = 30.0
"""Time that an attestor has for one step."""


@dataclass(frozen=True, slots=True)
class Question:
    """The node is asked back."""

    conversation: str
    message: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The node proved itself, for this certificate request."""

    attested: Attested
    request: x509.CertificateSigningRequest


class _Conversation:
    """One attestation under way; the `Challenge` of its attestor."""

    def __init__(self, method: str, request: x509.CertificateSigningRequest, answer_seconds: float) -> None:
        self.method = method
        self.request = request
        self.binding = sha256(request.public_bytes(Encoding.DER)).hexdigest()
        self.task: asyncio.Task[Attested] | None = None
        self.asked: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._answer: asyncio.Future[Mapping[str, Any]] | None = None
        self._answer_seconds = answer_seconds

    async def ask(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self.asked.set_result(message)
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await self._answer
        except TimeoutError:
            raise AttestationError("challenge-expired", "the challenge was not answered in time; start again") from None

    def reply(self, message: Mapping[str, Any]) -> None:
        self.asked = asyncio.get_running_loop().create_future()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)


class Conversations:
    """All attestations under way. Belongs to one event loop."""

    def __init__(
        self, *, max_open: int = MAX_OPEN, answer_seconds: float = ANSWER_SECONDS, step_seconds: float = STEP_SECONDS
    ) -> None:
        self._max_open = max_open
        self._answer_seconds = answer_seconds
        self._step_seconds = step_seconds
        self._open: dict[str, _Conversation] = {}
        self._running: set[asyncio.Task[Attested]] = set()

    def __len__(self) -> int:
        return len(self._running)

    async def begin(
        self, attestor: NodeAttestor, payload: Mapping[str, Any], request: x509.CertificateSigningRequest
    ) -> Question | Outcome:
        """Start an attestation.

        Raises:
            AttestationError: the proof fails.
            AttestationUnavailableError: too many are under way, or it cannot be told now.
        """
        if len(self._running) >= self._max_open:
            raise AttestationUnavailableError(
                "too-many-attestations", "too many attestations are under way; try again in a minute"
            )
        conversation = _Conversation(attestor.name, request, self._answer_seconds)
        task = asyncio.create_task(attestor.attest(payload, conversation))
        conversation.task = task
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await self._step(conversation, task)

    async def go_on(self, method: str, conversation: str, answer: Mapping[str, Any]) -> Question | Outcome:
        """Hand an answer in. A conversation takes one answer to each question.

        Raises:
            AttestationError: there is no such conversation (any more), or the proof fails.
        """
        found = self._open.pop(conversation, None)
        task = found.task if found is not None else None
        if found is None or task is None or found.method != method or task.done():
            if task is not None:
                task.cancel()
            raise AttestationError("challenge-unknown", "this challenge is unknown, answered or expired; start again")
        found.reply(answer)
        return await self._step(found, task)

    async def close(self) -> None:
        """End all that are under way."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _step(self, conversation: _Conversation, task: asyncio.Task[Attested]) -> Question | Outcome:
        asked = conversation.asked
        either: set[asyncio.Future[Any]] = {task, asked}
        try:
            await asyncio.wait(either, timeout=self._step_seconds, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            task.cancel()
            raise
        if task.done() and not task.cancelled():
            return Outcome(task.result(), conversation.request)
        if not asked.done() or task.cancelled():
            task.cancel()
            raise AttestationUnavailableError("attestation-slow", "the proof could not be examined in time; try again")
        name = secrets.token_urlsafe(32)
        self._open[name] = conversation
        task.add_done_callback(lambda _: self._open.pop(name, None))
        return Question(name, asked.result())

    def _ended(self, task: asyncio.Task[Attested]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # taken here too: nobody waits for one whose node never answered
