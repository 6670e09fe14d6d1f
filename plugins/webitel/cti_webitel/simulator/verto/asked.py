"""One request of a client's, with what the methods need of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cti_framework.media import MediaStateError
from cti_framework.switchboard import SwitchError
from cti_webitel.simulator.verto.clients import Client, VertoSession
from cti_webitel.simulator.verto.rpc import Members, Refusal, error_text, result_text

if TYPE_CHECKING:
    from cti_webitel.simulator.verto.dialogs import Dialog
    from cti_webitel.simulator.verto.endpoint import VertoEndpoint

__all__ = ["MALFORMED", "Asked", "Later", "Method"]

MALFORMED: Final = -32002
_DURATION: Final = re.compile(r"@\d*")


class Later(Exception):
    """The request is answered later."""


class Asked:
    """One request.

    Args:
        endpoint: The server.
        client: Who asks.
        request_id: Its identifier, whatever it is.
        method: What is asked, if it is a text.
        params: Its parameters, whatever they are; ``None``: it has none.
        in_batch: Whether it came among others, and its answer goes out with theirs.

    Attributes:
        endpoint: As given.
        client: As given.
        request_id: As given.
        method: As given.
        params: As given.
    """

    def __init__(
        self, endpoint: VertoEndpoint, client: Client, request_id: Any, method: Any, params: Any, *, in_batch: bool
    ) -> None:
        self.endpoint = endpoint
        self.client = client
        self.method = method
        self.params = params
        self.request_id = request_id
        self._in_batch = in_batch

    @property
    def session(self) -> VertoSession:
        """Whose."""
        session = self.client.session
        assert session is not None
        return session

    def get(self, name: str) -> Any:
        """Look for a parameter.

        Args:
            name: Which.

        Returns:
            Its value; ``None``: it is not there.
        """
        return self.params.get(name) if isinstance(self.params, dict) else None

    def dialog_params(self) -> dict[str, Any]:
        """Give what a request about a call says of the call.

        Returns:
            It, with the call's name in it.

        Raises:
            Refusal: There is none.
        """
        if self.params is None:
            raise Refusal(("message", "Params data missing"), ("code", MALFORMED))
        params = self.get("dialogParams")
        if not isinstance(params, dict):
            raise Refusal(("message", "Dialog data missing"), ("code", MALFORMED))
        if not isinstance(params.get("callID"), str) or not params["callID"]:
            raise Refusal(("message", "CallID missing"), ("code", MALFORMED))
        return params

    def dialog(self) -> Dialog:
        """Find the call that a request is about: anybody's, the server does not look whose (facts: verto, Calls).

        Returns:
            It.

        Raises:
            Refusal: It is not named, or there is none.
        """
        dialog = self.endpoint.dialogs.get(self.dialog_params()["callID"])
        if dialog is None or dialog.is_over:
            raise Refusal(("message", "CALL DOES NOT EXIST"), ("code", MALFORMED))
        return dialog

    def sdp(self) -> str:
        """Give a request's media description.

        Returns:
            It.

        Raises:
            Refusal: There is none.
        """
        sdp = self.get("sdp")
        if not isinstance(sdp, str) or not sdp:
            raise Refusal(("message", "SDP missing"), ("code", MALFORMED))
        return sdp

    def press(self, dialog: Dialog, digits: str) -> None:
        """Press keys of a phone. What is no key is left out; nothing tells whether anybody hears them.

        Args:
            dialog: Its call.
            digits: The keys, as the switch reads them: ``w`` waits, ``@`` and a number say how long.
        """
        with suppress(SwitchError):
            self.endpoint.switchboard.tones(dialog.leg_uuid, _DURATION.sub("", digits))

    # --- the answer

    def answered(self, members: Members) -> str:
        """Write the answer.

        Args:
            members: Those of the result.

        Returns:
            The message: with the session in it, but not among others.
        """
        own: Members = [] if self._in_batch else [("sessid", self.session.session_id)]
        return result_text(self.request_id, [*members, *own])

    def send(self, text: str) -> None:
        """Send an answer, in the time that answers take, unless it is one of those that get lost.

        Args:
            text: The message.
        """
        options, method = self.endpoint.options, str(self.method)
        if method in options.lost_replies:
            return
        delay_seconds = options.reply_delay_seconds_by_command.get(method, options.reply_delay_seconds)
        if delay_seconds:
            self.endpoint.switchboard.call_later(delay_seconds, lambda: self.client.reply(text))
        else:
            self.client.reply(text)

    def refused(self, refusal: Refusal) -> str:
        """Write a refusal.

        Args:
            refusal: It.

        Returns:
            The message.
        """
        return error_text(self.request_id, refusal.members)

    def later(self, seconds: float, give: Callable[[], Members]) -> Members:
        """Answer after a while; what the client asks meanwhile waits. Among others it is answered at once.

        Args:
            seconds: How long.
            give: Gives the members of the result.

        Returns:
            The members, if it is answered at once.

        Raises:
            Later: It is answered later.
        """
        if self._in_batch:
            return give()
        go_on = self.client.block()

        def answer() -> None:
            self._reply(give)
            go_on()

        self.endpoint.switchboard.call_later(seconds, answer)
        raise Later

    def when_done(self, dialog: Dialog, act: Callable[[], Awaitable[Members]]) -> Members:
        """Answer when the call's media has been taken care of; what the client asks meanwhile waits.

        Args:
            dialog: The call.
            act: Gives the members of the result.

        Returns:
            Nothing.

        Raises:
            Later: Always.
        """
        go_on = self.client.block()
        gone = Refusal(("message", "CALL DOES NOT EXIST"), ("code", MALFORMED))

        async def answer() -> None:
            dialog.when_over(None)
            try:
                text = self.answered(await act())
            except Refusal as refusal:
                text = self.refused(refusal)
            except MediaStateError:
                text = self.refused(gone)
            self.send(text)
            go_on()

        def give_up() -> None:
            self.send(self.refused(gone))
            go_on()

        dialog.when_over(give_up)
        dialog.do(answer)
        raise Later

    def _reply(self, give: Callable[[], Members]) -> None:
        if self.client.session is not None:
            self.send(self.answered(give()))


Method: TypeAlias = Callable[[Asked], Members]
