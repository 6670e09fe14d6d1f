"""Making calls, and what is done with them (facts: webitel-protocol 3.2).

The engine checks neither who asks nor whose leg it is; what it is sent is pasted into commands of the switch. There is no command
that answers a call: the operator's device does, or the web phone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cti_webitel.engine.answers import read_text
from cti_webitel.engine.arguments import (
    check_cause,
    check_destination,
    check_digits,
    check_parameter,
    check_user,
    check_uuid,
    check_variable,
    check_word,
)
from cti_webitel.engine.commands.execute import Commands

__all__ = ["CallCommands"]

# The library sends this with an enquiry where the site has set nothing else (facts: webitel-protocol 6).
_CONSULT_ANSWERS_ITSELF: Final = "sip_h_Call-Info=answer-after=0"


class CallCommands(Commands):
    """Calls of the own account, by their legs."""

    async def call(self, number: str, *, variables: Mapping[str, str] | None = None) -> str:
        """Ring the operator's own device, and the number once it answers.

        The answer comes when the own device has answered, so it may wait for ``call_seconds``; the call itself shows earlier,
        as ``onNewCall``.

        Args:
            number: Digits, ``*``, ``#`` and one ``+`` in front.
            variables: Channel variables, also kept as the call's data.

        Returns:
            The engine's answer, ``+OK <leg>``.

        Raises:
            InvalidArgumentError: The number or a variable could inject into the switch; nothing was sent.
            CommandError: As `execute`. The switch's cause is in ``pbx_text``, such as ``-ERR USER_NOT_REGISTERED``.
        """
        args: dict[str, Any] = {"extension": check_destination(number), "user": self.own_account}
        if self.auto_answer_param is not None:
            args["auto_answer_param"] = self.auto_answer_param
        if variables:
            args["variables"] = dict(check_variable(name, value) for name, value in variables.items())
        return read_text(await self.execute("call", args, timeout_seconds=self.timeouts.call_seconds))

    async def hangup(self, leg: str, cause: str | None = None) -> str:
        """End one leg.

        Args:
            leg: The leg's ``Unique-ID``.
            cause: A hang-up cause of the switch, such as ``USER_BUSY``; the switch's own by default.

        Returns:
            The engine's answer, ``+OK``.

        Raises:
            InvalidArgumentError: The leg is no UUID, or the cause is unknown; nothing was sent.
            CommandRefusedError: There is no such leg (``-ERR No such channel!``).
            CommandError: As `execute`.
        """
        args = {"channel-uuid": check_uuid(leg)}
        if cause is not None:
            args["cause"] = check_cause(cause)
        return read_text(await self.execute("hangup", args))

    async def hold(self, leg: str) -> str:
        """Put the far end of a leg on hold.

        ``+OK Success`` is no proof: the switch says it for a leg that it does not know, too (facts: webitel-protocol 3.2).

        Args:
            leg: The own leg's ``Unique-ID``.

        Returns:
            The engine's answer, ``+OK Success``.

        Raises:
            InvalidArgumentError: The leg is no UUID; nothing was sent.
            CommandRefusedError: It is held already (``-ERR Operation failed``; older switches answer success).
            CommandError: As `execute`.
        """
        return read_text(await self.execute("hold", {"channel-uuid": check_uuid(leg)}))

    async def unhold(self, leg: str) -> str:
        """Take the far end of a leg back from hold; what `hold` says about the answer is true here too.

        Args:
            leg: The own leg's ``Unique-ID``.

        Returns:
            The engine's answer, ``+OK Success``.

        Raises:
            InvalidArgumentError: The leg is no UUID; nothing was sent.
            CommandRefusedError: It is not held (``-ERR Operation failed``; older switches answer success).
            CommandError: As `execute`.
        """
        return read_text(await self.execute("unhold", {"channel-uuid": check_uuid(leg)}))

    async def toggle_hold(self, leg: str) -> str:
        """Hold a leg that is not held, or take back one that is: the switch decides by what it knows.

        Who knows what is meant had better say it, with `hold` or `unhold`: two of these at once do nothing (facts:
        webitel-protocol 7.9).

        Args:
            leg: The own leg's ``Unique-ID``.

        Returns:
            The engine's answer, ``+OK Success``.

        Raises:
            InvalidArgumentError: The leg is no UUID; nothing was sent.
            CommandError: As `execute`.
        """
        return read_text(await self.execute("toggle_hold", {"channel-uuid": check_uuid(leg)}))

    async def dtmf(self, leg: str, digits: str) -> str:
        """Send tones to the far end.

        Args:
            leg: The own leg's ``Unique-ID``.
            digits: ``0`` to ``9``, ``*``, ``#`` and ``A`` to ``D``.

        Returns:
            The engine's answer, ``+OK <leg> received DTMF <digits>.``

        Raises:
            InvalidArgumentError: The leg is no UUID, or there are other characters; nothing was sent.
            CommandError: As `execute`.
        """
        args = {"channel-uuid": check_uuid(leg), "digits": check_digits(digits)}
        return read_text(await self.execute("dtmf", args))

    async def transfer(self, other_leg: str, destination: str) -> str:
        """Send the far end on to somebody else; the own leg ends.

        Args:
            other_leg: The *far* end's leg: `WebitelCall.other_leg_uuid`, or what `channel_dump` says now.
            destination: As the number of `call`.

        Returns:
            The engine's answer, ``+OK``.

        Raises:
            InvalidArgumentError: The leg is no UUID, or the destination could inject; nothing was sent.
            CommandRefusedError: There is no such leg (``-ERR No such channel!``).
            CommandError: As `execute`.
        """
        args = {"channel-uuid": check_uuid(other_leg), "destination": check_destination(destination)}
        return read_text(await self.execute("transfer", args))

    async def consult(self, number: str, *, parent_call_id: str, leg: str) -> str:
        """Make an enquiry call on behalf of another one: the own device rings for it, and answers by itself where it can.

        As `call` it may wait for ``call_seconds``. Hold the first call before.

        Args:
            number: As the number of `call`.
            parent_call_id: The identifier of the first call; the enquiry carries it as
                `WebitelCall.attended_transfer_call_uuid`.
            leg: The own leg of the first call. The engine ignores it; the library sends it.

        Returns:
            The engine's answer, ``+OK <leg>``.

        Raises:
            InvalidArgumentError: The number could inject, or an identifier is no UUID; nothing was sent.
            CommandError: As `execute`.
        """
        args = {
            "channel-uuid": check_uuid(leg),
            "extension": f"{check_destination(number)}@{self.domain}",
            "user": self.own_account,
            "auto_answer_param": [self.auto_answer_param or _CONSULT_ANSWERS_ITSELF],
            "parent_call_uuid": check_uuid(parent_call_id),
        }
        return read_text(await self.execute("att_xfer2", args, timeout_seconds=self.timeouts.call_seconds))

    async def confirm_transfer(
        self, *, own_leg: str, far_leg: str, consult_far_leg: str, consult_own_leg: str | None = None
    ) -> str:
        """Join the far ends of a call and of the enquiry made for it; both own legs end.

        Args:
            own_leg: The own leg of the first call.
            far_leg: The far end's leg of the first call.
            consult_far_leg: The far end's leg of the enquiry.
            consult_own_leg: The own leg of the enquiry: given, its end tells ``transferResult``, too. The library leaves it out.

        Returns:
            The engine's answer, ``+OK <far end's leg of the enquiry>``.

        Raises:
            InvalidArgumentError: A leg is no UUID; nothing was sent.
            CommandRefusedError: One of the far ends is gone (``-ERR Invalid uuid``).
            CommandError: As `execute`.
        """
        args = {
            "channel-uuid-leg-a": check_uuid(own_leg),
            "channel-uuid-leg-b": check_uuid(far_leg),
            "channel-uuid-leg-c": check_uuid(consult_far_leg),
        }
        if consult_own_leg is not None:
            args["channel-uuid-leg-d"] = check_uuid(consult_own_leg)
        return read_text(await self.execute("att_xfer_bridge", args))

    async def cancel_transfer(self, *, consult_own_leg: str, own_leg: str, far_leg: str | None = None) -> str:
        """End an enquiry. The first call stays on hold: `unhold` it.

        Args:
            consult_own_leg: The own leg of the enquiry: the one that ends.
            own_leg: The own leg of the first call. The engine ignores it; the library sends it.
            far_leg: The far end's leg of the first call; the same.

        Returns:
            The engine's answer, ``+OK``.

        Raises:
            InvalidArgumentError: A leg is no UUID; nothing was sent.
            CommandRefusedError: There is no such leg (``-ERR No such channel!``).
            CommandError: As `execute`.
        """
        args = {"channel-uuid-leg-a": check_uuid(own_leg)}
        if far_leg is not None:
            args["channel-uuid-leg-b"] = check_uuid(far_leg)
        args["channel-uuid-leg-c"] = check_uuid(consult_own_leg)
        return read_text(await self.execute("att_xfer_cancel", args))

    async def bridge(self, leg_a: str, leg_b: str) -> str:
        """Join two legs, whatever they were joined with before.

        Args:
            leg_a: One.
            leg_b: The other.

        Returns:
            The engine's answer, ``+OK <other leg>``.

        Raises:
            InvalidArgumentError: A leg is no UUID; nothing was sent.
            CommandRefusedError: One of them is gone (``-ERR Invalid uuid``).
            CommandError: As `execute`.
        """
        return read_text(await self.execute("bridge", {"channel_uuid_A": check_uuid(leg_a), "channel_uuid_B": check_uuid(leg_b)}))

    async def eavesdrop(
        self,
        leg: str,
        *,
        side: str | None = None,
        user: str | None = None,
        display: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> str:
        """Ring a device, on which a leg is heard once it is picked up. As `call` it may wait for ``call_seconds``.

        Args:
            leg: The leg to hear, of anybody's call.
            side: The caller's name and number of the call that listens, pasted as they are; some sites read from it which of
                the two can be heard.
            user: Whose device rings: a number of the own domain; the own one by default.
            display: What the device shows.
            variables: Channel variables of the call that listens, pasted unquoted.

        Returns:
            The engine's answer, ``+OK <leg>``.

        Raises:
            InvalidArgumentError: The leg is no UUID, or something else could inject; nothing was sent.
            CommandError: As `execute`.
        """
        args: dict[str, Any] = {"channel-uuid": check_uuid(leg)}
        if user is not None:
            args["user"] = check_user(user)
        if side is not None:
            args["side"] = check_word("side", side)
        if display is not None:
            args["display"] = check_variable("display", display)[1]
        if variables:
            args["variables"] = [check_parameter(f"{name}={value}") for name, value in variables.items()]
        return read_text(await self.execute("eavesdrop", args, timeout_seconds=self.timeouts.call_seconds))
