"""By which identifier the record of a call is kept (facts: webitel-protocol 4.5, onUuidCall)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from cti_webitel.engine.callbacks import WebitelCall, WebitelDirection
from cti_webitel.engine.headers import MEMBER_SESSION, ORIGINATING_LEG, OTHER_LEG

__all__ = ["RecordIds"]

_MOST_REMEMBERED: Final = 4096


class RecordIds:
    """The last identifier of each call that had several; the latest few thousand are remembered."""

    __slots__ = ("_later",)

    def __init__(self) -> None:
        self._later: OrderedDict[str, str] = OrderedDict()

    def learn(self, old: str, new: str) -> None:
        """Note that a call changed its identifier.

        Args:
            old: What it was.
            new: What it is.
        """
        self._later[old] = new
        if len(self._later) > _MOST_REMEMBERED:
            self._later.popitem(last=False)

    def learn_from(self, call: WebitelCall) -> None:
        """Note by which identifier an answered call's record is kept, however the call ends.

        Args:
            call: As the frames told it.
        """
        record_id: str | None = call.channel_uuid
        if call.direction is WebitelDirection.INBOUND:
            told = (call.headers.get(key) for key in (ORIGINATING_LEG, OTHER_LEG, MEMBER_SESSION))
            record_id = next((uuid for uuid in told if isinstance(uuid, str) and uuid), None)
        if record_id is not None and record_id != call.uuid:
            self.learn(call.uuid, record_id)

    def of(self, call_id: str) -> str:
        """Find a call's last identifier.

        Args:
            call_id: Any that it had.

        Returns:
            The last one, as far as it is known.
        """
        seen = {call_id}
        while (later := self._later.get(call_id)) is not None and later not in seen:
            seen.add(later)
            call_id = later
        return call_id
