"""Every verb of a session has a section in the reference, and its example does what the section is about."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from cti_dummy import DummyCtiProvider
from cti_framework.commands import CommandRecord
from cti_framework.errors import CommandStage
from cti_framework.model import CtiModel
from cti_framework.provider import BaseCtiProvider
from cti_webitel import WebitelCtiProvider
from tests.conformance.mutants import Able
from tests.docs.reference_pages import BACKENDS, Places, check_said, execute, names_used, run, sections, session

PAGE = "reference/verbs.md"
SECTIONS = sections(PAGE)
VERBS = [name for name, _ in inspect.getmembers_static(CtiModel, inspect.iscoroutinefunction) if not name.startswith("_")]

# The dummy does all the others.
OF_WEBITEL = {
    "make_consult_call",
    "complete_transfer",
    "cancel_transfer",
    "blind_transfer",
    "alternate",
    "monitor",
    "set_call_centre_mode",
    "query_recordings",
    "fetch_recording",
}
# Neither does these: a dummy with a microphone, a camera, a recorder and conferences is the kit's own.
OF_ABLE = {"conference", "set_mute", "set_video", "start_recording", "stop_recording", "pause_recording", "set_wrap_up"}


def provider_of(verb: str) -> tuple[type[BaseCtiProvider], str]:
    if verb in OF_WEBITEL:
        return WebitelCtiProvider, "webitel"
    return (Able if verb in OF_ABLE else DummyCtiProvider), "dummy"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example(verb: str) -> None:
    assert verb in SECTIONS, f"docs/{PAGE} has no section `{verb}`"
    assert f"model.{verb}(" in SECTIONS[verb].code, f"the example of {verb} does not call it"


def test_no_verb_is_told_that_there_is_not() -> None:
    assert set(SECTIONS) <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_of_the_table_leads_to_its_section(verb: str) -> None:
    assert f"](#{verb}) |" in (Path(__file__).parents[2] / "docs" / PAGE).read_text(encoding="utf-8")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("verb", SECTIONS)
def test_the_example_of_a_verb_does_it(verb: str, backend: str, tmp_path: Path) -> None:
    section = SECTIONS[verb]
    provider_class, name = provider_of(verb)
    # Webitel has sockets, and a bundle is written in a thread: neither jumps.
    jumping = name == "dummy" and verb != "write_support_bundle"
    done: list[CommandRecord] = []
    printed: list[str] = []

    async def act() -> None:
        async with session(provider_class, name=name, jumping=jumping) as (model, pbx):
            places = Places(model, pbx, tmp_path)
            given = await places.names(names_used(section.code))
            before = model.commands
            await execute(section, given)
            done.extend(record for record in model.commands if record not in before and record.verb == verb)
            printed.extend(places.printed)

    run(backend, act, jumping=jumping)
    check_said(section, printed)
    if verb in vars(BaseCtiProvider):
        assert done, f"{verb} was not commanded"
        assert all(record.stage is CommandStage.ACCEPTED and record.error is None for record in done), done
    else:
        assert printed, f"the example of {verb} shows nothing"
