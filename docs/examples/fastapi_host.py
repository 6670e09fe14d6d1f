"""A FastAPI service with a telephone: it has an event loop, so it holds the CtiModel itself. Events go out by a WebSocket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from fastapi import FastAPI, HTTPException, Request, WebSocket
from fastapi.testclient import TestClient

from cti_framework import CallEvent, CommandError, CtiModel, CtiProviderInitializer, CtiUser, Cursor


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    initializer = CtiProviderInitializer({"cti.provider": "dummy"})
    async with initializer.open(CtiUser(id="100")) as session:
        app.state.session = session
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/calls", status_code=201)
async def make_call(request: Request, number: str) -> dict[str, str]:
    session: CtiModel = request.app.state.session
    try:
        call = await session.make_call(number)
    except CommandError as error:
        raise HTTPException(409, error.describe()) from error
    return {"call": call.id, "state": call.state.name}


@app.post("/calls/{call_id}/drop")
async def drop_call(request: Request, call_id: str) -> None:
    session: CtiModel = request.app.state.session
    try:
        await session.drop_call(call_id)
    except CommandError as error:
        raise HTTPException(409, error.describe()) from error


@app.websocket("/events")
async def events(websocket: WebSocket, epoch: str = "", seq: int = 0) -> None:
    """Tell what happens, from the page's cursor on: one that comes back misses nothing."""
    session: CtiModel = websocket.app.state.session
    reader = session.events(Cursor(epoch, seq) if epoch else session.cursor)
    await websocket.accept()
    async with anyio.create_task_group() as tasks:

        async def until_the_page_leaves() -> None:
            while (await websocket.receive())["type"] != "websocket.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(until_the_page_leaves)
        async for event in reader:
            told: dict[str, Any] = {"event": type(event).__name__, "epoch": event.epoch, "seq": event.seq}
            if isinstance(event, CallEvent):
                told |= {"call": event.call.id, "number": event.call.other.number}
            await websocket.send_json(told)


def main() -> None:
    with TestClient(app) as page, page.websocket_connect("/events") as told:
        call = page.post("/calls", params={"number": "0501234567"}).json()
        print(f"a call, {call['state']}")
        refused = page.post("/calls", params={"number": "0507654321"})
        print(f"{refused.status_code}: {refused.json()['detail']['message']}")
        event = told.receive_json()
        while event["event"] != "CallFinished":
            print(event["event"])
            if event["event"] == "CallConnected":
                page.post(f"/calls/{call['call']}/drop")
            event = told.receive_json()
        print(event["event"])


if __name__ == "__main__":
    main()
