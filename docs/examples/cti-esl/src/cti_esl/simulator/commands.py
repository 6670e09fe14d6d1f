"""The commands of the switch in the box, and their answers (facts: esl-control, framing and replies)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from cti_framework.switchboard import Leg, SwitchError

from cti_esl.simulator.switch import FakeSwitch

__all__ = ["Commands"]

_OK: Final = "+OK\n"
_USAGE: Final = "-USAGE: see FreeSWITCH's manual\n"
_FAILED: Final = "-ERR Operation failed\n"
_VERSION: Final = "FreeSWITCH Version 1.11.3-dev~64bit ( 64bit)\n"
_ORIGINATE: Final = re.compile(r"\{(?P<variables>[^}]*)\}user/(?P<presence>\S+) (?P<destination>\S+) XML \S+")


class Commands:
    """Carries commands out.

    Args:
        switch: On what.
    """

    def __init__(self, switch: FakeSwitch) -> None:
        self._switch = switch
        self._board = switch.switchboard
        self._known: dict[str, Callable[..., str]] = {
            "show": self._show,
            "uuid_audio": self._audio,
            "uuid_bridge": self._bridge,
            "uuid_dump": self._dump,
            "uuid_exists": self._exists,
            "uuid_hold": self._hold,
            "uuid_kill": self._kill,
            "uuid_recv_dtmf": self._tones,
            "uuid_transfer": self._transfer,
            "version": lambda: _VERSION,
        }

    def api(self, command: str) -> str:
        """Carry out a command that is answered at once.

        Args:
            command: It.

        Returns:
            The answer.
        """
        verb, *arguments = command.split()
        act = self._known.get(verb)
        if act is None:
            return f"-ERR {verb} Command not found!\n"
        try:
            return act(*arguments)
        except SwitchError as error:
            return f"{error.text}\n"
        except TypeError:
            return _USAGE

    def background(self, command: str, job_uuid: str) -> None:
        """Carry out a command, and tell by ``BACKGROUND_JOB`` what came of it.

        Args:
            command: It.
            job_uuid: The job.
        """
        verb, _, arguments = command.partition(" ")
        if verb == "originate":
            self._originate(arguments, job_uuid)
        else:
            self._switch.job(job_uuid, verb, arguments, self.api(command))

    def _originate(self, arguments: str, job_uuid: str) -> None:
        def done(result: Leg | SwitchError) -> None:
            begun = f"+OK {self._switch.shown(result.uuid)}" if isinstance(result, Leg) else result.text
            text = f"{begun}\n"
            self._switch.job(job_uuid, "originate", arguments, text)

        asked = _ORIGINATE.fullmatch(arguments)
        if asked is None:
            self._switch.job(job_uuid, "originate", arguments, _USAGE)
            return
        variables = dict(part.split("=", 1) for part in asked["variables"].split(",") if "=" in part)
        if self._exists(variables.get("origination_uuid", "")) == "true":
            done(SwitchError("-ERR DESTINATION_OUT_OF_ORDER"))
            return
        try:
            self._board.originate(
                asked["presence"],
                asked["destination"],
                caller_number=variables.get("origination_caller_id_number", "0000000000"),
                variables=variables,
                on_result=done,
            )
        except SwitchError as error:
            done(error)

    def _show(self, what: str, *how: str) -> str:
        if what != "channels":
            return _USAGE
        return self._switch.table() if how == ("as", "json") else "\n0 total.\n"

    def _dump(self, uuid: str, how: str = "plain") -> str:
        dump = self._switch.dump(uuid)
        return dump if how == "json" else _USAGE

    def _exists(self, uuid: str) -> str:
        try:
            self._switch.named(uuid)
        except SwitchError:
            return "false"
        return "true"

    def _kill(self, uuid: str, cause: str | None = None) -> str:
        self._board.hang_up(self._switch.named(uuid), cause)
        return _OK

    def _hold(self, *arguments: str) -> str:
        if not arguments:
            return _USAGE
        *how, uuid = arguments
        if self._exists(uuid) == "false":
            # So it answers for a leg that there is not.
            return "+OK Success\n"
        if how == ["off"]:
            return _FAILED
        self._switch.hold(uuid)
        return "+OK Success\n"

    def _transfer(self, uuid: str, destination: str, *_dialplan: str) -> str:
        self._board.transfer(self._switch.named(uuid), destination)
        return _OK

    def _bridge(self, first: str, second: str) -> str:
        if "false" in (self._exists(first), self._exists(second)):
            return "-ERR Invalid uuid\n"
        self._board.bridge(self._switch.named(first), self._switch.named(second))
        return f"+OK {second}\n"

    def _tones(self, uuid: str, digits: str) -> str:
        if self._exists(uuid) == "false":
            return "-ERR Cannot locate session!\n"
        self._board.tones(self._switch.named(uuid), digits)
        return f"+OK {uuid} received DTMF {digits}.\n"

    def _audio(self, uuid: str, *_how: str) -> str:
        self._switch.named(uuid)
        return _OK
