"""The simulated Verto server beside FreeSWITCH: the clients of each capture are played against it, and it says the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

pytest.importorskip("aiortc", reason="the extra media is not installed")

from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel
from tests.webitel.verto_captures import NAMES
from tests.webitel.verto_player import DOMAIN, Difference, Player, add_users

pytestmark = pytest.mark.anyio

NOT_PLAYED = {
    "01d_login_wss": "the simulator has no TLS; a proxy before it has",
    "04b_early_media": "a number that plays before it answers: a dialplan's own affair",
    "12b_presence_events": "presence is not simulated: the engine tells it",
    "15_shutdown": "the simulator is not shut down in steps",
    "15a_shutdown_now": "the simulator is not shut down in steps",
    "15b_reload_mod_verto": "modules of FreeSWITCH cannot be loaded anew in the simulator",
    "15c_reload_mod_verto_idle": "modules of FreeSWITCH cannot be loaded anew in the simulator",
    "15d_server_killed": "the simulator is not shut down in steps",
    "15f_invite_while_server_starting": "the simulator listens when it is ready",
    "17_conference": "conferences are not simulated",
}
"""Captures of what is not simulated, with why."""

DIFFERENT: dict[str, dict[str, str]] = {
    "11_blind_transfer_by_caller": {
        "verto.display": "the transferred leg shows whom it talked to before as the other party's id; display_* are the same"
    },
    "11c_attended_transfer": {
        "verto.display": "the joined legs keep the ids that they had; display_* are the same",
    },
    "11e_transfer_to_unknown": {"verto.bye": "who transferred is hung up normally, whatever comes of it afterwards"},
}
"""What the simulator says in another way, with why."""

_NO_EARLY_MEDIA = {
    "05b_call_no_ringback",
    "06b_bob_rejects_call_rejected",
    "07b_alice_cancels_no_cause",
    "07c_no_answer_timeout",
    "09f_recoverCall_false",
    "16_chat_info",
    "22_update_media",
}
"""Made with numbers whose dialplan has no ring tone."""

OPTIONS = SimulatorOptions(
    refusals={"9999999": "NO_ROUTE_DESTINATION", "4040": "UNALLOCATED_NUMBER", "4860": "USER_BUSY"},
    applications={"5000": "tone"},
)
OPTIONS_OF: dict[str, dict[str, Any]] = {
    "07c_no_answer_timeout": {"ring_timeout_seconds": 0.3},
    "09b_detach_timeout": {"detach_seconds": 0.2},
    "14b_idle_server_ping": {"verto_ping_seconds": 0.4},
    "21_idle_before_login": {"verto_ping_seconds": 0.4},
}


def hang_up_everybody(simulator: WebitelSimulator) -> Callable[[], None]:
    def act() -> None:
        for leg in simulator.switchboard.legs:
            simulator.switchboard.hang_up(leg.uuid)

    return act


def test_every_capture_is_played_or_told_why_not() -> None:
    assert set(NOT_PLAYED) | set(DIFFERENT) <= set(NAMES)
    assert not set(NOT_PLAYED) & set(DIFFERENT)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_PLAYED])
async def test_the_server_says_what_freeswitch_said(name: str) -> None:
    changes = {"early_media": name not in _NO_EARLY_MEDIA, **OPTIONS_OF.get(name, {})}
    async with serve_webitel(verto_port=0, control_port=None, options=attrs.evolve(OPTIONS, **changes)) as simulator:
        add_users(simulator.switchboard)
        simulator.verto.domain = DOMAIN
        before = {"verto.bye": hang_up_everybody(simulator)} if name == "04c_server_hangs_up" else {}
        player = await Player(simulator, name, before=before).play()
    allowed = DIFFERENT.get(name, {})
    unexpected = [difference for difference in player.differences if difference.about not in allowed]
    assert not unexpected, _told(unexpected)
    # A difference that is none any more is to be taken out of the table.
    assert {difference.about for difference in player.differences} == set(allowed)
    assert player.compared


def _told(differences: list[Difference]) -> str:
    return "\n".join(f"{one.about}\n  FreeSWITCH {one.captured}\n  simulator  {one.got}" for one in differences)
