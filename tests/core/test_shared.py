from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from cti_framework.errors import (
    CredentialsRefusedError,
    CtiError,
    NetworkError,
    OutageKind,
    PluginError,
    SessionClosedError,
    told_error,
)
from cti_framework.shared import SharedConnections
from tests.core.scripted import jumping_backend

pytestmark = pytest.mark.anyio

Opened = Callable[[str], None]


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


class Wire:
    """What is at the other end: counts the connections, and does to each what a test says."""

    def __init__(self) -> None:
        self.opened = 0
        self.open = 0
        self.most_open = 0
        self.on_open: dict[int, Callable[[], Awaitable[object]]] = {}
        self.on_close: Callable[[], Awaitable[object]] | None = None
        self._cut = anyio.Event()

    async def live(self, opened: Opened) -> None:
        self.opened += 1
        number = self.opened
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        self._cut = anyio.Event()
        try:
            if number in self.on_open:
                await self.on_open[number]()
            opened(f"connection {number}")
            await self._cut.wait()
            raise NetworkError(f"Connection {number} was cut.")
        finally:
            with anyio.CancelScope(shield=True):
                if self.on_close is not None:
                    await self.on_close()
            self.open -= 1

    def cut(self) -> None:
        self._cut.set()


@asynccontextmanager
async def registry() -> AsyncIterator[SharedConnections]:
    connections = SharedConnections()
    async with anyio.create_task_group() as tasks:
        connections.live_in(tasks)
        yield connections
        # What is left now is what somebody forgot to close.
        assert not connections._connections
        assert not connections._closing


class User:
    """Stands on a connection until it is told to leave, or until that breaks."""

    def __init__(self, connections: SharedConnections, wire: Wire) -> None:
        self.connections = connections
        self.wire = wire
        self.stands_on: str | None = None
        self.error: CtiError | None = None
        self.scope = anyio.CancelScope()
        self.standing = anyio.Event()
        self.gone = anyio.Event()
        self.leave = anyio.Event()

    async def live(self) -> None:
        try:
            with self.scope:
                async with self.connections.use("pbx", self.wire.live) as connection:
                    self.stands_on = connection
                    self.standing.set()
                    await self.leave.wait()
        except CtiError as error:
            self.error = error
        finally:
            self.stands_on = None
            self.gone.set()


async def test_users_of_one_key_stand_on_one_connection_and_the_last_closes_it() -> None:
    wire = Wire()
    async with registry() as connections, anyio.create_task_group() as tasks:
        users = [User(connections, wire) for _ in range(5)]
        for user in users:
            tasks.start_soon(user.live)
        for user in users:
            await user.standing.wait()
        assert {user.stands_on for user in users} == {"connection 1"}
        for user in users[:-1]:
            user.leave.set()
            await user.gone.wait()
        assert wire.open == 1
        users[-1].leave.set()
        await users[-1].gone.wait()
        # Whoever left last has closed it already.
        assert (wire.opened, wire.open) == (1, 0)


async def test_another_key_is_another_connection() -> None:
    wire = Wire()
    async with registry() as connections:
        async with connections.use("a", wire.live) as a, connections.use("b", wire.live) as b:
            assert (a, b) == ("connection 1", "connection 2")
        assert wire.open == 0


async def test_a_connection_that_breaks_ends_every_user_with_one_error() -> None:
    wire = Wire()
    async with registry() as connections, anyio.create_task_group() as tasks:
        users = [User(connections, wire) for _ in range(5)]
        for user in users:
            tasks.start_soon(user.live)
        for user in users:
            await user.standing.wait()
        wire.cut()
        for user in users:
            await user.gone.wait()
        assert {str(user.error) for user in users} == {"Connection 1 was cut."}
        assert len({id(user.error) for user in users}) == 1
        # A thousand raises of one error must not make a traceback of a thousand tasks.
        assert isinstance(users[0].error, NetworkError)
        assert _frames(users[0].error) < 10


def _frames(error: BaseException) -> int:
    count, traceback = 0, error.__traceback__
    while traceback is not None:
        count, traceback = count + 1, traceback.tb_next
    return count


async def test_what_users_do_when_it_breaks_is_cancelled_not_left_running() -> None:
    wire = Wire()
    cancelled = anyio.Event()
    async with registry() as connections:
        with pytest.raises(NetworkError, match="was cut"):
            async with connections.use("pbx", wire.live):
                wire.cut()
                try:
                    await anyio.sleep_forever()
                finally:
                    cancelled.set()
        assert cancelled.is_set()


async def test_those_who_come_while_it_is_opened_share_the_one_attempt_and_its_failure() -> None:
    wire = Wire()
    refuse = anyio.Event()

    async def fail() -> None:
        await refuse.wait()
        raise NetworkError("Nobody there.")

    wire.on_open[1] = fail
    async with registry() as connections, anyio.create_task_group() as tasks:
        users = [User(connections, wire) for _ in range(5)]
        for user in users:
            tasks.start_soon(user.live)
        await anyio.wait_all_tasks_blocked()
        refuse.set()
        for user in users:
            await user.gone.wait()
        assert [str(user.error) for user in users] == ["Nobody there."] * 5
        assert wire.opened == 1


async def test_a_failure_is_shared_for_as_long_as_one_user_alone_would_wait() -> None:
    wire = Wire()

    async def fail() -> None:
        raise NetworkError(f"Attempt {wire.opened} failed.")

    wire.on_open = {1: fail, 2: fail}
    async with registry() as connections:

        async def come() -> str:
            try:
                async with connections.use("pbx", wire.live, pause_seconds=lambda failures, error: 10.0 * failures) as connection:
                    return connection
            except NetworkError as error:
                return error.message

        assert await come() == "Attempt 1 failed."
        await anyio.sleep(9.9)
        assert await come() == "Attempt 1 failed."
        await anyio.sleep(0.2)
        assert await come() == "Attempt 2 failed."
        # The second in a row is shared for longer.
        await anyio.sleep(19.9)
        assert await come() == "Attempt 2 failed."
        await anyio.sleep(0.2)
        assert await come() == "connection 3"


async def test_a_connection_that_lasted_is_followed_by_another_at_once_and_one_that_did_not_is_not() -> None:
    wire = Wire()
    patience: dict[str, Any] = {"pause_seconds": lambda failures, error: 1.0, "stable_after_seconds": 10.0}
    async with registry() as connections:

        async def stand(seconds: float) -> None:
            with pytest.raises(NetworkError):
                async with connections.use("pbx", wire.live, **patience):
                    await anyio.sleep(seconds)
                    wire.cut()
                    await anyio.sleep_forever()

        await stand(10.5)
        await stand(0.5)
        assert wire.opened == 2
        await stand(0.0)
        assert wire.opened == 2
        await anyio.sleep(1.1)
        await stand(10.5)
        assert wire.opened == 3


async def test_the_first_user_may_go_while_it_is_opened() -> None:
    wire = Wire()
    go_on = anyio.Event()
    wire.on_open[1] = go_on.wait
    async with registry() as connections, anyio.create_task_group() as tasks:
        first, second = User(connections, wire), User(connections, wire)
        tasks.start_soon(first.live)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(second.live)
        await anyio.wait_all_tasks_blocked()
        first.scope.cancel()
        await first.gone.wait()
        go_on.set()
        await second.standing.wait()
        assert (second.stands_on, wire.opened) == ("connection 1", 1)
        second.leave.set()


async def test_an_opening_that_nobody_waits_for_any_more_is_given_up() -> None:
    wire = Wire()
    wire.on_open[1] = anyio.sleep_forever
    async with registry() as connections, anyio.create_task_group() as tasks:
        user = User(connections, wire)
        tasks.start_soon(user.live)
        await anyio.wait_all_tasks_blocked()
        assert wire.open == 1
        user.scope.cancel()
        await user.gone.wait()
        assert wire.open == 0


async def test_one_that_is_closing_is_waited_for_before_another_is_opened() -> None:
    wire = Wire()
    closing, closed = anyio.Event(), anyio.Event()

    async def close_slowly() -> None:
        closing.set()
        await closed.wait()

    async with registry() as connections, anyio.create_task_group() as tasks:
        wire.on_close = close_slowly
        first = User(connections, wire)
        tasks.start_soon(first.live)
        await first.standing.wait()
        first.leave.set()
        await closing.wait()
        hasty, last = User(connections, wire), User(connections, wire)
        tasks.start_soon(hasty.live)
        await _turns()
        hasty.scope.cancel()
        await hasty.gone.wait()
        tasks.start_soon(last.live)
        await _turns()
        assert (wire.opened, wire.open) == (1, 1)
        closed.set()
        await last.standing.wait()
        assert (last.stands_on, wire.most_open) == ("connection 2", 1)
        last.leave.set()


async def _turns() -> None:
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def test_a_user_who_leaves_does_not_wait_for_ever() -> None:
    wire = Wire()
    closed = anyio.Event()
    wire.on_close = closed.wait
    async with registry() as connections:
        began = anyio.current_time()
        async with connections.use("pbx", wire.live):
            pass
        assert 0 < anyio.current_time() - began < 10
        closed.set()
        async with connections.use("pbx", wire.live) as connection:
            assert connection == "connection 2"
        assert wire.most_open == 1


@pytest.mark.parametrize("in_group", [False, True])
async def test_a_fault_of_the_plugin_is_named_once_and_tried_again(logs: list[Any], in_group: bool) -> None:
    async def broken(opened: Opened) -> None:
        if not in_group:
            raise ZeroDivisionError("oops")
        async with anyio.create_task_group():
            raise ZeroDivisionError("oops")

    async with registry() as connections:
        with pytest.raises(PluginError) as caught:
            async with connections.use("pbx", broken):
                raise AssertionError("there is nothing to stand on")
        assert caught.value.retryable
        raised = [line for line in logs if line["event"] == "cti.shared.raised"]
        assert len(raised) == 1
        assert "ZeroDivisionError" in raised[0]["stack"]


async def test_a_refusal_inside_a_task_group_stays_a_refusal() -> None:
    async def refused(opened: Opened) -> None:
        async with anyio.create_task_group():
            raise CredentialsRefusedError("No.")

    async with registry() as connections:
        with pytest.raises(CredentialsRefusedError):
            async with connections.use("pbx", refused):
                raise AssertionError("there is nothing to stand on")


async def test_an_opener_that_just_ends_is_a_connection_that_ended() -> None:
    async def ends(opened: Opened) -> None:
        return

    async with registry() as connections:
        with pytest.raises(NetworkError, match="ended"):
            async with connections.use("pbx", ends):
                raise AssertionError("there is nothing to stand on")


async def test_what_a_user_raises_comes_out_as_it_is_and_harms_no_other() -> None:
    wire = Wire()
    async with registry() as connections, AsyncExitStack() as stack:
        await stack.enter_async_context(connections.use("pbx", wire.live))
        with pytest.raises(KeyError):
            async with connections.use("pbx", wire.live):
                raise KeyError("mine")
        assert wire.open == 1


@pytest.mark.parametrize("notices_seconds", [0.0, 0.3])
@pytest.mark.parametrize("in_group", [False, True])
async def test_a_write_on_a_connection_that_breaks_ends_with_what_broke_it(notices_seconds: float, in_group: bool) -> None:
    write = anyio.Event()

    async def reads(opened: Opened) -> None:
        opened("connection")
        await write.wait()
        await anyio.sleep(notices_seconds)
        raise NetworkError("The PBX went away.", kind=OutageKind.RESTARTING)

    errors: list[NetworkError] = []
    async with registry() as connections, anyio.create_task_group() as tasks:

        async def writes(number: int) -> None:
            with pytest.raises(NetworkError, match="went away") as caught:
                async with connections.use("pbx", reads):
                    await anyio.sleep(0.01)
                    write.set()
                    if not in_group:
                        raise anyio.BrokenResourceError(number)
                    async with anyio.create_task_group():
                        raise anyio.BrokenResourceError(number)
            errors.append(caught.value)

        for number in range(3):
            tasks.start_soon(writes, number)
    assert {error.kind for error in errors} == {OutageKind.RESTARTING}
    # Each has the cause that was its own.
    assert len({id(error.__cause__) for error in errors}) == 3
    assert all(isinstance(error.__cause__, ExceptionGroup if in_group else anyio.BrokenResourceError) for error in errors)


async def test_a_clean_up_that_writes_when_it_broke_does_not_hide_what_broke_it() -> None:
    wire = Wire()
    async with registry() as connections:
        with pytest.raises(NetworkError, match="was cut") as caught:
            async with connections.use("pbx", wire.live):
                wire.cut()
                try:
                    await anyio.sleep_forever()
                finally:
                    raise anyio.ClosedResourceError
        assert isinstance(caught.value.__cause__, anyio.ClosedResourceError)


async def test_a_plugin_that_says_itself_that_the_line_is_cut_is_told_why() -> None:
    wire = Wire()
    async with registry() as connections:
        with pytest.raises(NetworkError, match="Connection 1 was cut"):
            async with connections.use("pbx", wire.live):
                wire.cut()
                raise NetworkError("I cannot write.")


async def test_a_user_who_is_refused_when_it_breaks_stays_refused() -> None:
    wire = Wire()
    async with registry() as connections:
        with pytest.raises(ExceptionGroup) as caught:
            async with connections.use("pbx", wire.live):
                wire.cut()
                async with anyio.create_task_group():
                    raise CredentialsRefusedError("Not you.")
        assert isinstance(told_error(caught.value), CredentialsRefusedError)


async def test_what_a_user_raises_on_a_connection_that_stays_up_is_told_after_a_moment() -> None:
    wire = Wire()
    async with registry() as connections, AsyncExitStack() as stack:
        await stack.enter_async_context(connections.use("pbx", wire.live))
        began = anyio.current_time()
        with pytest.raises(anyio.BrokenResourceError):
            async with connections.use("pbx", wire.live):
                raise anyio.BrokenResourceError
        assert anyio.current_time() - began <= 0.5


async def test_the_opener_belongs_to_no_user() -> None:
    bound = contextvars.ContextVar("bound", default="nobody")
    seen: list[str] = []

    async def look(opened: Opened) -> None:
        seen.append(bound.get())
        opened("connection")
        await anyio.sleep_forever()

    async with registry() as connections:
        bound.set("the first user")
        async with connections.use("pbx", look):
            pass
    assert seen == ["nobody"]


async def test_a_good_time_that_ended_by_choice_begins_a_new_row_of_failures() -> None:
    is_up = False
    counts: list[int] = []

    async def opener(opened: Opened) -> None:
        if not is_up:
            raise NetworkError("Nobody there.")
        opened("connection")
        await anyio.sleep_forever()

    def pause(failures: int, error: CtiError) -> float:
        counts.append(failures)
        return 0.0

    async with registry() as connections:

        async def stand(seconds: float) -> None:
            async with connections.use("pbx", opener, pause_seconds=pause, stable_after_seconds=10.0):
                await anyio.sleep(seconds)

        async def fail() -> None:
            with pytest.raises(NetworkError):
                await stand(0.0)

        await fail()
        await fail()
        is_up = True
        # Too short to say anything.
        await stand(9.0)
        is_up = False
        await fail()
        is_up = True
        await stand(11.0)
        is_up = False
        await fail()
    assert counts == [1, 2, 3, 1]


async def test_without_a_session_there_is_none() -> None:
    with pytest.raises(SessionClosedError):
        async with SharedConnections().use("pbx", Wire().live):
            raise AssertionError("there is nothing to stand on")


async def test_the_key_is_in_no_log_and_no_error(logs: list[Any]) -> None:
    wire = Wire()
    async with registry() as connections:
        with pytest.raises(NetworkError) as caught:
            async with connections.use("wss://pbx.example?token=hunter2", wire.live):
                wire.cut()
                await anyio.sleep_forever()
        assert "hunter2" not in f"{logs}{caught.value!r}{caught.value}"
        assert any(line["event"] == "cti.shared.lost" for line in logs)
