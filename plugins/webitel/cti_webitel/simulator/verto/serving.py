"""Serving the Verto port beside the engine's."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

import anyio
import attrs
from anyio.abc import SocketAttribute, TaskGroup

from cti_framework.media import require_media
from cti_webitel.simulator.engine import Engine
from cti_webitel.simulator.verto.audio import ECHO, MUSIC, TEST_TONE
from cti_webitel.simulator.verto.endpoint import VertoEndpoint
from cti_webitel.simulator.verto.websocket import serve_verto_socket

__all__ = ["WEB_PHONE_NUMBERS", "serve_verto"]

WEB_PHONE_NUMBERS: Final = ("103", "104")
"""The accounts that have no other phone."""
_APPLICATIONS: Final = {"9196": ECHO, "9197": TEST_TONE, "9664": MUSIC}
"""Those of FreeSWITCH's own first dialplan."""
_ANY_ADDRESS: Final = ("0.0.0.0", "::")


@asynccontextmanager
async def serve_verto(
    engine: Engine, host: str, port: int, domain: str, is_away: Callable[[], bool]
) -> AsyncGenerator[tuple[VertoEndpoint, int]]:
    """Serve web phones.

    Leaving the block cuts every socket and ends all media.

    Args:
        engine: The engine beside it.
        host: Where to listen; media goes through the same address.
        port: The port; 0: any that is free.
        domain: The domain of the accounts.
        is_away: Tells whether the network is cut just now.

    Yields:
        The server, and its port.

    Raises:
        MediaUnavailableError: The extra ``media`` is not installed, or the event loop is not asyncio's.
        OSError: It cannot listen there.
    """
    require_media()
    engine.configure(attrs.evolve(engine.options, applications={**_APPLICATIONS, **engine.options.applications}))
    for number in WEB_PHONE_NUMBERS:
        engine.switchboard.add_account(number, domain, password=number, devices=())
    async with AsyncExitStack() as stack:
        listener = await stack.enter_async_context(await anyio.create_tcp_listener(local_host=host, local_port=port))
        tasks: TaskGroup = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        address = str(listener.extra(SocketAttribute.local_address)[0])
        endpoint = VertoEndpoint(engine, tasks, () if address in _ANY_ADDRESS else (address,), domain)
        stack.push_async_callback(endpoint.close)
        tasks.start_soon(listener.serve, partial(serve_verto_socket, endpoint=endpoint, is_away=is_away))
        yield endpoint, listener.extra(SocketAttribute.local_port)
