"""The provider of cti-framework for FreeSWITCH's event socket."""

from cti_esl.provider import EslCtiProvider
from cti_esl.settings import (
    EslSettings,
    EslUserSettings,
)

__all__ = [
    "EslCtiProvider",
    "EslSettings",
    "EslUserSettings",
]
