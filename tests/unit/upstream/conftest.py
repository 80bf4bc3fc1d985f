"""The upstream client as the product runs it: on uvloop."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from gateway.secrets.reference_store import ReferenceStore
from gateway.upstream.http1.client import Http1Client


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def client() -> AsyncIterator[Http1Client]:
    client = Http1Client(ReferenceStore())
    yield client
    await client.close()
