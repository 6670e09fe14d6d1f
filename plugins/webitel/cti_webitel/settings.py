"""The settings of the Webitel provider: the system's and each user's."""

from __future__ import annotations

from typing import Literal

import attrs
from typed_settings.types import Secret

from cti_framework.settings import setting
from cti_webitel.engine.arguments import check_parameter

__all__ = ["WebitelSettings", "WebitelUserSettings"]

_POSITIVE = attrs.validators.gt(0)


def _parameter(_: object, attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None:
        check_parameter(value)


@attrs.frozen(kw_only=True)
class WebitelSettings:
    """The system settings, under ``webitel.``.

    Attributes:
        connection_string: Where the engine listens: ``ws://`` or ``wss://``, host and port (871 in the product's documentation,
            10022 of the engine itself).
        webrtc_connection_string: Where the web phone's signalling listens. Users with the web phone need it.
        domain: Added to a login that has none: ``100`` becomes ``100@example.org``.
        auto_answer_param: What makes the operator's own phone pick up by itself when a call is made, ``name=value``, for
            example ``sip_h_Call-Info=answer-after=0``.
        command_timeout_seconds: The longest that the engine may take to answer a command.
        ring_timeout_seconds: The longest that it may take to answer ``call``, which waits for the operator's own phone.
        hold_grace_seconds: How long after a call state HELD its HOLD may come; without one the far end holds.
        ping_interval_seconds: How often the engine is asked whether it is there.
        reject_as_busy: A second incoming call is hung up as busy instead of ringing beside the first; it is told all the same.
        call_centre_on_demand: Call-centre mode gives calls of queues only when they are asked for.
        whisper_side: What the engine's ``eavesdrop`` takes as the side on which a supervisor is heard by one party alone.
            Without it there is no whispering.
        web_phone_auto_answer: Which incoming calls the web phone answers by itself: ``never``, ``always``, or ``by_variable``,
            those whose leg has the channel variable ``w_jsclient_auto_answer`` (facts: webitel-protocol 6). None while there is
            another call. What the user asked for himself, an enquiry for one, is answered in any case.
    """

    connection_string: str = setting(
        code="webitelConnectionString", help="Where the engine listens, for example wss://pbx.example:871."
    )
    webrtc_connection_string: str | None = setting(
        default=None, code="webitelWebRTCConnectionString", help="Where the web phone's signalling listens."
    )
    domain: str | None = setting(default=None, code="webitelDomain", help="The domain of logins that are given without one.")
    auto_answer_param: str | None = setting(
        default=None, validator=_parameter, help="What makes the operator's own phone pick up by itself."
    )
    command_timeout_seconds: float = setting(default=10.0, validator=_POSITIVE, help="Time for one command.")
    ring_timeout_seconds: float = setting(default=65.0, validator=_POSITIVE, help="Time for the command call.")
    hold_grace_seconds: float = setting(default=1.0, validator=_POSITIVE, help="Time between HELD and HOLD.")
    ping_interval_seconds: float = setting(default=50.0, validator=_POSITIVE, help="Time between keep-alives.")
    reject_as_busy: bool = setting(default=False, help="Hang a second incoming call up as busy.")
    call_centre_on_demand: bool = setting(default=False, help="Take calls of queues on demand only.")
    whisper_side: str | None = setting(default=None, help="The side on which a supervisor is heard by one party alone.")
    web_phone_auto_answer: Literal["never", "always", "by_variable"] = setting(
        default="never", help="Which incoming calls the web phone answers by itself."
    )


@attrs.frozen(kw_only=True)
class WebitelUserSettings:
    """The settings of a user, from the directory of Webitel users or the user's own parameters.

    Attributes:
        login: The account, ``100@example.org``; without ``@`` the system's domain is added.
        password: Its password. Either this, or ``key`` and ``token``.
        key: The key of a token.
        token: The token.
        use_web_phone: He talks through the session itself: calls are answered and made here, and sound goes by this computer's
            microphone and speaker. It needs the system's ``webrtc_connection_string`` and the extra ``media``.
        use_notification_sound: An incoming call is heard, by the media's ring device. Only with the web phone.
        use_video: Video is told of where both sides show it. Only with the web phone, and only where a browser has its media.
        web_phone_login: His account at the web phone's signalling, where it is another one.
        web_phone_password: Its password; by default the account's. A token is of no use there.
    """

    login: str = setting(help="The account, number@domain.")
    password: Secret[str] | None = setting(default=None, help="The account's password.")
    key: str | None = setting(default=None, secret=True, help="The key of a token.")
    token: Secret[str] | None = setting(default=None, help="The token that belongs to the key.")
    use_web_phone: bool = setting(default=False, code="useWebPhone", help="Talk through the session itself.")
    use_notification_sound: bool = setting(
        default=True, code="useNotificationSound", help="Let an incoming call be heard. Only with the web phone."
    )
    use_video: bool = setting(default=False, code="useVideo", help="Tell of video. Only with the web phone.")
    web_phone_login: str | None = setting(default=None, help="The account at the web phone's signalling, if it is another one.")
    web_phone_password: Secret[str] | None = setting(default=None, help="Its password, if it is another one.")

    def __attrs_post_init__(self) -> None:
        if self.password is None and (self.key is None or self.token is None):
            raise ValueError("give either password, or key and token")
        if (self.key is None) is not (self.token is None):
            raise ValueError("key and token belong together: give both, or neither")
        if self.use_web_phone and self.password is None and self.web_phone_password is None:
            raise ValueError("the web phone needs a password beside key and token: give web_phone_password")
