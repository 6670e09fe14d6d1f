from __future__ import annotations

import contextlib
import subprocess
import sys
import traceback
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typed_settings.types import Secret

from cti_framework.errors import SettingsError
from cti_framework.settings import CoreSettings, SystemSettings, describe_settings, setting

SECRET = "correct horse battery staple"


class Mode(Enum):
    QUIET = "quiet"
    LOUD = "very-loud"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@attrs.frozen(kw_only=True)
class Settings:
    connection_string: str = setting(code="acmeConnectionString", help="Where it listens.")
    rtc: str | None = setting(default=None, code="acmeWebRTCConnectionString", codes=["acmeOldRtc"])
    password: Secret[str] | None = setting(default=None)
    pin: str = setting(default="", secret=True)
    mode: Mode = setting(default=Mode.QUIET)
    level: Level = setting(default=Level.LOW)
    ring_seconds: float = setting(default=30.0, validator=[attrs.validators.gt(0), attrs.validators.le(300)])
    lines: int = setting(default=1, validator=attrs.validators.ge(1))
    names: tuple[str, ...] = setting(default=())
    folder: Path | None = setting(default=None)
    use_web_phone: bool = setting(default=True)
    codec: str | None = setting(default=None, validator=attrs.validators.optional(attrs.validators.in_(["opus", "g711"])))


ADDRESS = {"acme.connection_string": "ws://pbx"}


def read(values: dict[str, Any], **sources: Any) -> Settings:
    return SystemSettings.load({**ADDRESS, **values}, **{"environ": {}, **sources}).read("acme", Settings)


def refusal(values: dict[str, Any], **sources: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        read(values, **sources)
    return "\n".join([str(caught.value), "".join(traceback.format_exception(caught.value)), repr(caught.value)])


def problems(values: dict[str, Any], **sources: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read(values, **sources)
    return caught.value.problems


# Sources and their order


def test_each_source_overrides_the_ones_before_it(tmp_path: Path) -> None:
    toml = tmp_path / "cti.toml"
    toml.write_text('[acme]\nmode = "quiet"\nconnection_string = "ws://toml"\nlines = 2\nlevel = "high"\nring_seconds = 2\n')
    settings = SystemSettings.load(
        {"acme.connection_string": "ws://mapping", "acme.lines": 3, "acme.ring_seconds": 3, "acme.names": ["mapping"]},
        toml=toml,
        environ={"CTI_ACME__LINES": "5", "CTI_ACME__NAMES": "variable"},
    )
    settings = settings.with_values({"acme.lines": 4, "acme.ring_seconds": 4, "acme.codec": "opus"}, "the hook cti_setting")
    assert settings.read("acme", Settings) == Settings(
        connection_string="ws://mapping",
        level=Level.HIGH,
        lines=5,
        ring_seconds=4.0,
        names=("variable",),
        codec="opus",
    )
    personal = settings.with_user({"acme.lines": 6}).read("acme", Settings)
    assert personal.lines == 6
    assert settings.read("acme", Settings).lines == 5


def test_keys() -> None:
    settings = SystemSettings.load({"SysMsgLib": "Acme", "Cti": {"Provider": "x"}}, environ={"CTI_PROVIDER": "y"})
    assert settings.keys() == ("Cti.Provider", "SysMsgLib")


def test_none_is_not_set() -> None:
    settings = SystemSettings.load({"cti.provider": None}, environ={}).with_values({"cti.provider": "acme"}, "a hook")
    assert settings.with_user({"cti.provider": None}).read("cti", CoreSettings).provider == "acme"


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTI_PROVIDER", "acme")
    assert SystemSettings.load().read("cti", CoreSettings).provider == "acme"


def test_a_host_mapping_with_other_keys_is_left_alone() -> None:
    settings = SystemSettings.load({"cti.provider": "acme", "password": SECRET, 7: "x", "db": {1: 2}}, environ={})  # type: ignore[dict-item]  # on purpose
    settings.check_unknown({"cti": CoreSettings, "acme": Settings})
    assert settings.read("cti", CoreSettings).provider == "acme"
    # The host's own "password" is not the provider's.
    assert read({"password": SECRET}).password is None


def test_later_values_of_one_rank_override() -> None:
    settings = (
        SystemSettings.load(ADDRESS, environ={}).with_user({"login": 1, "lines": 2}).with_user({"lines": 3}, origin="directory")
    )
    assert settings.read("acme", Settings).lines == 3
    with pytest.raises(SettingsError, match="from lines in the directory"):
        settings.with_user({"lines": "x"}, origin="the directory").read("acme", Settings)


# Spellings


@pytest.mark.parametrize(
    "spelled",
    [
        {"acme.connection_string": "ws://x"},
        {"ACME.ConnectionString": "ws://x"},
        {"acme": {"connection-string": "ws://x"}},
        {"acmeConnectionString": "ws://x"},
        {"ACMECONNECTIONSTRING": "ws://x"},
    ],
)
def test_spellings_of_one_key(spelled: dict[str, Any]) -> None:
    assert SystemSettings.load(spelled, environ={}).read("acme", Settings).connection_string == "ws://x"


def test_codes() -> None:
    assert SystemSettings.load({"SysMsgLib": "Acme"}, environ={}).read("cti", CoreSettings).provider == "Acme"
    assert read({"acmeWebrtcConnectionString": "wss://x"}).rtc == "wss://x"
    assert read({"acmeOldRtc": "wss://y"}).rtc == "wss://y"


def test_variables() -> None:
    for variable in ("CTI_PROVIDER", "CTI_CTI__PROVIDER"):
        assert SystemSettings.load(environ={variable: "acme"}).read("cti", CoreSettings).provider == "acme"
    assert read({}, environ={"CTI_ACME__CONNECTION_STRING": "ws://v", "CTI_ACME__USE_WEB_PHONE": "off"}) == Settings(
        connection_string="ws://v", use_web_phone=False
    )


def test_parameters_of_a_user_need_no_prefix() -> None:
    settings = SystemSettings.load(ADDRESS, environ={}).with_user({"useWebPhone": False, "password": SECRET, "debugMode": True})
    personal = settings.read("acme", Settings)
    assert personal.use_web_phone is False
    assert personal.password is not None
    assert personal.password.get_secret_value() == SECRET
    settings.check_unknown({"cti": CoreSettings, "acme": Settings})


def test_one_source_may_say_a_thing_twice_but_not_two_things() -> None:
    same = {"acmeConnectionString": "ws://pbx", "ACME.connection_string": "ws://pbx"}
    assert SystemSettings.load(same, environ={}).read("acme", Settings).connection_string == "ws://pbx"
    (problem,) = problems({"acmeConnectionString": "ws://other"})
    assert problem == (
        "acme.connection_string: given twice with different values, as acme.connection_string in the host's settings"
        " and as acmeConnectionString in the host's settings; keep one"
    )
    assert "different values" in problems({"acme.lines": 1, "acme": {"lines": 2}})[0]


def test_two_sources_may_say_two_things() -> None:
    assert read({}, environ={"CTI_ACME__CONNECTION_STRING": "ws://other"}).connection_string == "ws://other"


letters = st.text("abcxyzABCXYZ", min_size=1, max_size=8)
words = st.lists(letters, min_size=1, max_size=4)


@given(parts=st.lists(words, min_size=1, max_size=3), data=st.data())
def test_any_spelling_of_a_key_finds_it(parts: list[list[str]], data: st.DataObject) -> None:
    def spelled() -> str:
        change = data.draw(st.sampled_from([str.upper, str.lower, str.title, str.swapcase]))
        return ".".join(data.draw(st.sampled_from(["", "_", "-"])).join(map(change, part)) for part in parts)

    assert len(SystemSettings.load({spelled(): 1}, environ={}).with_values({spelled(): 2}, "a hook").keys()) == 1


@given(
    name=st.sampled_from([field.name for field in attrs.fields(CoreSettings)]),
    prefix=st.sampled_from(["cti", "acme", "cti.store"]),
)
def test_every_key_has_a_variable_that_leads_back(name: str, prefix: str) -> None:
    made: Any = attrs.make_class("Made", {name: attrs.field(default="", type=str)})
    (description,) = describe_settings(prefix, made)
    settings = SystemSettings.load(environ={description.variable: "1"})
    assert getattr(settings.read(prefix, made), name) == "1"


@given(st.dictionaries(st.text(max_size=20), st.none() | st.text(max_size=5), max_size=5))
def test_no_mapping_breaks_it(values: dict[str, Any]) -> None:
    settings = SystemSettings.load(values, environ={f"CTI_{key}": "x" for key in values})
    assert bool(settings.keys()) == bool(values)
    with contextlib.suppress(SettingsError):
        settings.check_unknown({"cti": CoreSettings, "acme": Settings}, others=["zoom"])
    with contextlib.suppress(SettingsError):
        settings.read("acme", Settings)


# Conversion


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("lines", "2", 2),
        ("lines", 2, 2),
        ("lines", 2.0, 2),
        ("ring_seconds", "2.5", 2.5),
        ("ring_seconds", 2, 2.0),
        ("use_web_phone", "No", False),
        ("use_web_phone", "ON", True),
        ("use_web_phone", "0", False),
        ("use_web_phone", 1, True),
        ("use_web_phone", "true", True),
        ("mode", "very-loud", Mode.LOUD),
        ("mode", "LOUD", Mode.LOUD),
        ("mode", Mode.LOUD, Mode.LOUD),
        ("level", "high", Level.HIGH),
        ("level", "2", Level.HIGH),
        ("level", 2, Level.HIGH),
        ("names", "a, b,,c ", ("a", "b", "c")),
        ("names", ["a", "b"], ("a", "b")),
        ("names", "", ()),
        ("folder", "/x", Path("/x")),
        ("folder", Path("/x"), Path("/x")),
        ("folder", "", None),
        ("codec", "opus", "opus"),
        ("codec", " ", None),
        ("rtc", "", None),
        ("connection_string", 1001, "1001"),
    ],
)
def test_conversion(key: str, given: Any, expected: Any) -> None:
    values = {f"acme.{key}": given}
    converted = getattr(read(values), key)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("key", "given", "allowed"),
    [
        ("lines", "two", "a whole number, >= 1"),
        ("lines", 2.5, "a whole number, >= 1"),
        ("lines", "inf", "a whole number, >= 1"),
        ("lines", True, "a whole number, >= 1"),
        ("lines", 0, "a whole number, >= 1"),
        ("lines", [1], "a whole number, >= 1"),
        ("ring_seconds", "soon", "a number, > 0, <= 300"),
        ("ring_seconds", "nan", "a number, > 0, <= 300"),
        ("ring_seconds", True, "a number, > 0, <= 300"),
        ("ring_seconds", 301, "a number, > 0, <= 300"),
        ("use_web_phone", "perhaps", "true or false"),
        ("use_web_phone", 2, "true or false"),
        ("use_web_phone", "", "true or false"),
        ("mode", "silent", "one of quiet, very-loud"),
        ("level", "3", "one of low, high"),
        ("names", 5, "a list, or text separated by commas"),
        ("names", [["a"]], "a list, or text separated by commas"),
        ("codec", "mp3", "text, one of opus, g711, or nothing"),
        ("connection_string", True, "text"),
        ("connection_string", ["ws://x"], "text"),
    ],
)
def test_refusals_say_what_is_held_where_it_is_from_and_what_may_be_held(key: str, given: Any, allowed: str) -> None:
    settings = SystemSettings.load(environ={"CTI_ACME__CONNECTION_STRING": "ws://pbx"}).with_user({f"acme.{key}": given})
    with pytest.raises(SettingsError) as caught:
        settings.read("acme", Settings)
    assert caught.value.problems == (
        f"acme.{key}: holds {given!r} (from acme.{key} in the user's parameters); it may hold {allowed}",
    )


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        SystemSettings.load({"acme.lines": "x"}, environ={"CTI_ACME__MODE": "y"}).read("acme", Settings)
    assert caught.value.problems == (
        "acme.connection_string: not set; it may hold text;"
        " set acme.connection_string or acmeConnectionString or CTI_ACME__CONNECTION_STRING",
        "acme.mode: holds 'y' (from the variable CTI_ACME__MODE); it may hold one of quiet, very-loud",
        "acme.lines: holds 'x' (from acme.lines in the host's settings); it may hold a whole number, >= 1",
    )
    assert str(caught.value).startswith("3 settings under 'acme' cannot be used.")


def test_what_compares_settings_is_a_problem_too() -> None:
    settings = SystemSettings.load({"cti.reconnect_initial_seconds": 9, "cti.reconnect_max_seconds": 1}, environ={})
    with pytest.raises(SettingsError) as caught:
        settings.read("cti", CoreSettings)
    assert caught.value.problems == ("cti: reconnect_max_seconds (1.0) may not be below reconnect_initial_seconds (9.0)",)


def test_values_of_other_types_pass_as_they_are() -> None:
    class Context: ...

    made = attrs.make_class("Made", {"context": attrs.field(type=Context)})
    context = Context()
    assert SystemSettings.load({"acme.context": context}, environ={}).read("acme", made).context is context


# Secrets


def test_a_secret_by_value_variable_and_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{SECRET}\n")
    (tmp_path / "two-lines").write_text(f"{SECRET}\n\n")
    toml = tmp_path / "cti.toml"
    toml.write_text('acme.password = "file:password"\n')

    def password(given: Any) -> str:
        found = read({"acme.password": given}, environ={"PBX_PASSWORD": SECRET}).password
        assert found is not None
        return found.get_secret_value()

    assert password(SECRET) == SECRET
    assert password(Secret(SECRET)) == SECRET
    assert password("env:PBX_PASSWORD") == SECRET
    assert password(f"file:{tmp_path}/password") == SECRET
    assert password(f"file:{tmp_path}/two-lines") == f"{SECRET}\n"
    assert password(1234) == "1234"
    assert read({"acme.pin": "env:PIN"}, environ={"PIN": "99"}).pin == "99"
    from_file = read({}, toml=toml).password
    assert from_file is not None
    assert from_file.get_secret_value() == SECRET


def test_only_secrets_refer() -> None:
    assert read({"acme.connection_string": "file:///x"}).connection_string == "file:///x"


def test_what_a_secret_refers_to_is_missing(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe" + SECRET.encode())
    assert problems({"acme.password": "env:NOWHERE"}) == (
        "acme.password: env:NOWHERE in the host's settings: the variable NOWHERE is not set",
    )
    assert "absent cannot be read: No such file or directory" in problems({"acme.password": f"file:{tmp_path}/absent"})[0]
    assert "cannot be read: it is not UTF-8 text" in refusal({"acme.password": f"file:{tmp_path}/binary"})
    assert SECRET not in refusal({"acme.password": f"file:{tmp_path}/binary"})


def test_which_secrets_cannot_be_had(tmp_path: Path) -> None:
    """A secret that refers to nothing is told apart from one that is not given, and from other settings that are wrong."""

    @attrs.frozen
    class Secrets:
        key: Secret[str] = setting()
        pin: Secret[str] | None = setting(default=None)
        token: str = setting(default="", secret=True)
        port: int = setting(default=1)

    given = {"acme.pin": "env:NOT_THERE", "acme.token": f"file:{tmp_path / 'none'}", "acme.port": "x"}
    settings = SystemSettings.load(given, environ={})
    pin, token = settings.secret_problems("acme", Secrets)
    assert pin == "acme.pin: env:NOT_THERE in the host's settings: the variable NOT_THERE is not set"
    assert token.startswith("acme.token: file:")
    assert settings.with_user({"acme.pin": "1", "acme.token": "2"}).secret_problems("acme", Secrets) == ()
    assert SystemSettings.load({}, environ={}).secret_problems("acme", Secrets) == ()


def test_a_user_may_not_read_the_secrets_of_the_process() -> None:
    settings = SystemSettings.load(ADDRESS, environ={"DATABASE": SECRET})
    with pytest.raises(SettingsError, match="env: in the user's parameters is not followed"):
        settings.with_user({"password": "env:DATABASE"}).read("acme", Settings)
    trusted = settings.with_user({"password": "env:DATABASE"}, origin="the directory", references=True).read("acme", Settings)
    assert trusted.password is not None
    assert trusted.password.get_secret_value() == SECRET


@pytest.mark.parametrize(
    "values",
    [
        {"acme.password": [SECRET]},
        {"acme.pin": [SECRET]},
        {"acme.password": SECRET, "acme": {"password": "another"}},
        {"acme.password": SECRET, "acme.lines": 0},
        {
            "acme.connection_string": f"ws://user:{SECRET.replace(' ', '-')}@pbx",
            "acme.mode": f"ws://user:{SECRET.replace(' ', '-')}@pbx",
        },
    ],
)
def test_no_refusal_tells_a_secret(values: dict[str, Any]) -> None:
    told = refusal(values)
    assert SECRET not in told
    assert SECRET.replace(" ", "-") not in told


@given(secret=st.text(min_size=6).filter(str.strip))
def test_no_text_of_settings_tells_a_secret(secret: str) -> None:
    secret = f"{secret}#{hash(secret)}"
    settings = SystemSettings.load({**ADDRESS, "acme.password": secret, "acme.pin": secret}, environ={"CTI_ACME__PIN": secret})
    settings = settings.with_user({"password": secret})
    texts = [repr(settings), str(settings), repr(settings.read("acme", Settings)), str(settings.read("acme", Settings))]
    with pytest.raises(SettingsError) as caught:
        settings.with_user({"lines": 0, "acme.misspelt": secret}).read("acme", Settings)
    texts += [str(caught.value), repr(caught.value)]
    with pytest.raises(SettingsError) as caught:
        settings.with_user({"acme.pasword": secret}).check_unknown({"acme": Settings})
    texts += [str(caught.value), repr(caught.value), *traceback.format_exception(caught.value)]
    assert not [text for text in texts if secret in text]


def test_a_class_that_quotes_a_secret_is_masked() -> None:
    def refuse(self: Any) -> None:
        raise ValueError(f"{self.password.get_secret_value()} is too simple")

    made = attrs.make_class("Made", {"password": attrs.field(type=Secret[str])}, class_body={"__attrs_post_init__": refuse})
    with pytest.raises(SettingsError) as caught:
        SystemSettings.load({"acme.password": SECRET}, environ={}).read("acme", made)
    assert caught.value.problems == ("acme: *** is too simple",)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


# Files


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (f'password = "{SECRET}'.encode(), r"it is not TOML \(at "),
        (b"\xff", "it is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "cti.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=problem) as caught:
        SystemSettings.load(toml=path, environ={})
    assert str(path) in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file or directory"):
        SystemSettings.load(toml=tmp_path / "absent.toml", environ={})


# Unknown keys


def unknown(values: dict[str, Any], environ: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        SystemSettings.load(values, environ=environ or {}).check_unknown({"cti": CoreSettings, "Acme": (Settings,)})
    return caught.value.problems


def test_unknown_keys_are_refused_with_a_close_match() -> None:
    assert unknown({"cti.providr": "x", "acme.Conection_String": "y"}) == (
        "cti.providr in the host's settings: not known; did you mean cti.provider?",
        "acme.Conection_String in the host's settings: not known; did you mean Acme.connection_string?",
    )
    assert unknown({}, {"CTI_PROVIDR": "x"}) == ("the variable CTI_PROVIDR: not known; did you mean CTI_PROVIDER?",)
    assert unknown({}, {"CTI_ACME__MOOD": "x"}) == ("the variable CTI_ACME__MOOD: not known; did you mean CTI_ACME__MODE?",)


def test_unknown_keys_without_a_match_are_told_what_is_known() -> None:
    (problem,) = unknown({"cti.zzz": 1})
    assert problem.startswith("cti.zzz in the host's settings: not known; known are cti.provider, cti.disabled_plugins, ")


def test_a_former_key_is_known() -> None:
    @attrs.frozen(kw_only=True)
    class Renamed:
        url: str = setting(codes=("acme.address",))

    settings = SystemSettings.load({"acme.address": "wss://x"}, environ={})
    settings.check_unknown({"cti": CoreSettings, "acme": Renamed})
    assert settings.read("acme", Renamed).url == "wss://x"
    with pytest.raises(SettingsError, match=r"acme\.adress in the host's settings: not known; did you mean acme\.url\?"):
        SystemSettings.load({"acme.adress": "x"}, environ={}).check_unknown({"cti": CoreSettings, "acme": Renamed})
    with pytest.raises(SettingsError, match="given twice with different values"):
        SystemSettings.load({"acme.address": "x", "acme.url": "y"}, environ={}).read("acme", Renamed)


def even(_: object, __: object, value: int) -> None:
    if value % 2:
        raise ValueError("it has to be even")


@attrs.frozen(kw_only=True)
class Validated:
    port: int = setting(default=2, validator=[attrs.validators.ge(0), even])
    token: int = setting(default=2, secret=True, validator=even)


def test_an_authors_own_validator_says_why() -> None:
    for value, why in ((3, "; it has to be even"), (-1, "")):
        with pytest.raises(SettingsError) as caught:
            SystemSettings.load({"acme.port": value}, environ={}).read("acme", Validated)
        told = f"acme.port: holds {value} (from acme.port in the host's settings); it may hold a whole number, >= 0{why}"
        assert caught.value.problems == (told,)


def test_of_a_secret_it_says_nothing() -> None:
    with pytest.raises(SettingsError) as caught:
        SystemSettings.load({"acme.token": 3}, environ={}).read("acme", Validated)
    assert "even" not in str(caught.value)


def test_keys_of_others_are_left_alone() -> None:
    settings = SystemSettings.load(
        {"other.key": 1, "acmeSomething": 2, "SysMsgLib": "acme", "zoom.x": 3, "ctix.y": 1},
        environ={"CTI_CI": "1", "CTI_HOME": "/x", "CTI_": "1", "CTI_ZOOM__X": "1", "PATH": "/bin", "CTI_PROVIDER": "acme"},
    )
    settings.check_unknown({"cti": CoreSettings, "acme": Settings}, others=["jabber"])


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("CTI_PROVIDR", "CTI_PROVIDER"),
        ("CTI_CTI_PROVIDER", "CTI_PROVIDER"),
        ("CTI_SYSMSGLIB", "CTI_PROVIDER"),
        ("CTI_CONNECTION_TIMEOUT", "CTI_USER_CONNECTION_TIMEOUT_SECONDS"),
        ("CTI_ACME_CONNECTION_STRING", "CTI_ACME__CONNECTION_STRING"),
        ("CTI_ACMECONNECTIONSTRING", "CTI_ACME__CONNECTION_STRING"),
        ("CTI_ZOOM_CONNECTION_STRING", "CTI_ZOOM__CONNECTION_STRING"),
        ("CTI_BIG_PBX_CONNECTION_STRING", "CTI_BIG_PBX__CONNECTION_STRING"),
    ],
)
def test_a_variable_that_is_like_a_key_is_refused(variable: str, meant: str) -> None:
    settings = SystemSettings.load(environ={variable: SECRET})
    with pytest.raises(SettingsError) as caught:
        settings.check_unknown({"cti": CoreSettings, "acme": Settings}, others=["Zoom", "acme", "big-pbx"])
    assert caught.value.problems == (f"the variable {variable}: not known; did you mean {meant}?",)


def test_a_variable_with_a_double_underscore_is_ours_under_our_prefixes() -> None:
    assert "the variable CTI_CTI__ZZZ: not known; known are" in unknown({}, {"CTI_CTI__ZZZ": "x", "CTI_ZZZ": "x"})[0]
    assert "the variable CTI_ACME__ZZZ: not known" in unknown({}, {"CTI_ACME__ZZZ": "x"})[0]


def test_a_longer_prefix_is_checked_by_its_own_class() -> None:
    store = attrs.make_class("Store", {"url": setting(default="")})
    settings = SystemSettings.load({"cti.store.url": "x"}, environ={})
    settings.check_unknown({"cti": CoreSettings, "cti.store": store})
    with pytest.raises(SettingsError):
        settings.check_unknown({"cti": CoreSettings})


# Descriptions


def test_descriptions() -> None:
    descriptions = {description.key: description for description in describe_settings("acme", Settings)}
    address = descriptions["acme.connection_string"]
    assert address.required
    assert address.codes == ("acmeConnectionString",)
    assert address.variable == "CTI_ACME__CONNECTION_STRING"
    assert address.help == "Where it listens."
    assert descriptions["acme.password"].secret
    assert descriptions["acme.password"].allowed == "a secret: its value, env:NAME or file:PATH, or nothing"
    assert descriptions["acme.lines"].default == 1
    assert not descriptions["acme.lines"].required


def test_every_core_setting_is_described() -> None:
    for description in describe_settings("cti", CoreSettings):
        assert description.help, description.key
        assert description.variable.startswith("CTI_")
        assert "__" not in description.variable


def test_importing_settings_loads_nothing_heavy() -> None:
    code = "import sys, cti_framework.settings; print(sorted({'cattrs', 'typed_settings', 'websockets'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


THE_SYSTEMS_ALONE = {
    "load_timeout_seconds",
    "log_in_timeout_seconds",
    "user_connection_timeout_seconds",
    "connect_timeout_seconds",
    "reconnect_initial_seconds",
    "reconnect_max_seconds",
    "silence_seconds",
    "probe_timeout_seconds",
    "event_log_capacity",
    "hook_timeout_seconds",
    "plugin_fault_limit",
    "stall_seconds",
    "trace_hooks",
    "tls_ca_file",
    "tls_client_certificate_file",
    "tls_client_key_file",
    "tls_client_key_password",
    "allow_plain_text",
    "flight_recorder_seconds",
    "flight_recorder_kilobytes",
}


def test_what_costs_all_users_of_a_process_something_no_user_sets() -> None:
    alone = {one.key.removeprefix("cti.") for one in describe_settings("cti", CoreSettings) if one.system_only}
    assert alone == THE_SYSTEMS_ALONE
    for name in alone - {"tls_client_key_file"}:
        with pytest.raises(SettingsError, match=f"cti.{name}: only the system may set it, and .* does"):
            SystemSettings.load({}, environ={}).with_user({f"cti.{name}": 1}).read("cti", CoreSettings)


def test_a_user_may_say_how_his_own_session_behaves() -> None:
    own = {"auto_connect": False, "restore_agent_state": False, "raw_messages": True, "give_up_after_attempts": 3}
    core = SystemSettings.load({}, environ={}).with_user(own).read("cti", CoreSettings)
    assert (core.auto_connect, core.restore_agent_state, core.raw_messages, core.give_up_after_attempts) == (
        False,
        False,
        True,
        3,
    )
