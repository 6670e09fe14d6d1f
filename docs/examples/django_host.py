"""A Django site with a telephone: a view that calls, one that hangs up, and one that a page asks again and again for events."""

import threading
from collections.abc import Mapping
from typing import Any

import django
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.test import Client
from django.urls import path

from cti_framework import (
    BlockingCtiModel,
    BlockingRuntime,
    CallEvent,
    CommandError,
    CtiProviderInitializer,
    Cursor,
    Event,
    open_session,
)


class Telephones:
    """The sessions of one process. Made when the site starts, opened by requests: so in the worker, after any fork."""

    def __init__(self, cti_settings: Mapping[str, Any]) -> None:
        self._initializer = CtiProviderInitializer(cti_settings)
        self._opening = threading.Lock()
        self._runtime: BlockingRuntime | None = None
        self._sessions: dict[str, BlockingCtiModel] = {}

    def of(self, user: str) -> BlockingCtiModel:
        with self._opening:
            if self._runtime is None:
                self._runtime = BlockingRuntime()
            if user not in self._sessions or self._sessions[user].closed:
                self._sessions[user] = open_session(self._initializer, user, runtime=self._runtime)
            return self._sessions[user]


telephones = Telephones({"cti.provider": "dummy"})


def make_call(request: HttpRequest) -> JsonResponse:
    session = telephones.of(request.headers["X-Operator"])
    try:
        call = session.within(10).make_call(request.POST["number"])
    except CommandError as error:
        return JsonResponse(error.describe(), status=409)
    return JsonResponse({"call": call.id, "state": call.state.name}, status=201)


def drop_call(request: HttpRequest, call_id: str) -> JsonResponse:
    try:
        telephones.of(request.headers["X-Operator"]).drop_call(call_id)
    except CommandError as error:
        return JsonResponse(error.describe(), status=409)
    return JsonResponse({})


def events(request: HttpRequest) -> JsonResponse:
    """Give what happened after the page's cursor. Where nothing has, wait for it, but not for ever. A new page gets a cursor."""
    session = telephones.of(request.headers["X-Operator"])
    if "after" not in request.GET:
        return JsonResponse({"events": [], "after": as_text(session.cursor)})
    epoch, _, seq = request.GET["after"].partition(":")
    reader = session.events(Cursor(epoch, int(seq)), timeout_seconds=20)
    told = []
    try:
        told.append(as_json(next(reader)))
        while (event := reader.next_nowait()) is not None:
            told.append(as_json(event))
    except (TimeoutError, StopIteration):
        pass
    return JsonResponse({"events": told, "after": as_text(reader.cursor)})


def as_text(cursor: Cursor) -> str:
    return f"{cursor.epoch}:{cursor.seq}"


def as_json(event: Event) -> dict[str, Any]:
    told: dict[str, Any] = {"event": type(event).__name__, "at": event.at}
    if isinstance(event, CallEvent):
        told |= {"call": event.call.id, "number": event.call.other.number, "state": event.call.state.name}
    return told


urlpatterns = [path("calls", make_call), path("calls/<str:call_id>/drop", drop_call), path("events", events)]


def main() -> None:
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"])
    django.setup()
    page = Client(headers={"X-Operator": "100"})
    after = page.get("/events").json()["after"]
    call = page.post("/calls", {"number": "0501234567"}).json()
    print(f"a call, {call['state']}")
    refused = page.post("/calls", {"number": "0507654321"})
    print(f"{refused.status_code}: {refused.json()['message']}")
    is_over = False
    while not is_over:
        answer = page.get("/events", {"after": after}).json()
        after = answer["after"]
        for event in answer["events"]:
            print(event["event"])
            if event["event"] == "CallConnected":
                page.post(f"/calls/{call['call']}/drop")
            is_over = is_over or event["event"] == "CallFinished"


if __name__ == "__main__":
    main()
