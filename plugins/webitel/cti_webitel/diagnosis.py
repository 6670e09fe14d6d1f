"""What can be wrong at the engine although it lets the account in, for ``cti doctor``.

Only questions are asked, and none of them changes anything: not even ``login``, which switches the account's call events on for
all of its programs; that was done when the connection was made (facts: webitel-protocol 1.2).
"""

from __future__ import annotations

import uuid

from cti_framework.diagnosis import Checks, Endpoint, Finding, StepState
from cti_framework.errors import CommandRefusedError
from cti_webitel.engine.client import Webitel
from cti_webitel.settings import WebitelSettings

__all__ = ["diagnose_engine", "endpoints_of"]

_NOT_REGISTERED = "NONREG"


def endpoints_of(settings: WebitelSettings) -> tuple[Endpoint, ...]:
    """Tell what is connected to.

    Args:
        settings: The system's.

    Returns:
        The engine, and the web phone's signalling where it is set. Where recordings are fetched is told with each of them.
    """
    engine = Endpoint("engine", settings.connection_string)
    if settings.webrtc_connection_string is None:
        return (engine,)
    return engine, Endpoint("web_phone", settings.webrtc_connection_string)


async def diagnose_engine(checks: Checks, webitel: Webitel) -> None:
    """Take the steps that need the engine.

    Args:
        checks: Takes them.
        webitel: It is logged in.
    """

    async def login_flag() -> Finding | str:
        # The flag is the account's, and another program of it may have cleared it since.
        logged = (await webitel.whoami()).get("logged")
        if logged is False:
            return Finding(
                "The engine sends this account no call events: another program of it has logged out.",
                StepState.FAILED,
                remedy="Let the other program close its connection without the command logout.",
            )
        if logged is not True:
            return Finding("The engine does not say whether it sends call events.", StepState.SKIPPED)
        return "The engine sends this account's call events."

    async def agent_registered() -> Finding | str:
        user = webitel.own_user
        if user is None or not user.state:
            return Finding("The engine does not tell the account's state.", StepState.SKIPPED)
        if user.state == _NOT_REGISTERED:
            return Finding(
                f"No phone is registered for {webitel.own_account}: it can neither be called nor call.",
                StepState.WARNING,
                remedy="Switch the phone on, or look at its SIP settings.",
            )
        return f"A phone is registered; the account's state is {user.state}."

    async def recordings() -> Finding | str:
        try:
            # Of a call that never was: what is asked for is whether the engine looks at all.
            await webitel.recording_link(str(uuid.uuid4()))
        except CommandRefusedError as error:
            return Finding(
                f"The engine does not look recordings up for this account: {error.pbx_text or 'no reason given'}.",
                StepState.WARNING,
                remedy="Give the account's role the permission cdr: ro (its own) or r (all).",
            )
        return "The engine looks recordings up. Whether one can be fetched shows `cti recordings`, with a call that has one."

    await checks.check("login_flag", login_flag)
    await checks.check("agent_registered", agent_registered)
    await checks.check("recordings", recordings)
