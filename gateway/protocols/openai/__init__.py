"""OpenAI's API: what its SDKs send, what they expect, and what the gateway refuses of it."""

from gateway.protocols.openai.protocol import OpenAIProtocol

__all__ = ["OpenAIProtocol"]
