"""System settings: where they come from, what each key means.

Sources, weakest first; a stronger one overrides a weaker one key by key:

1. the defaults of the settings class,
2. a TOML file,
3. the mapping that the host passes,
4. the answers of the hook ``cti_setting``,
5. ``CTI_*`` environment variables,
6. the parameters of the user whose session it is.

Keys are compared without regard to case, ``_`` and ``-``, so ``webitel.connection_string`` and
``Webitel.ConnectionString`` are one key. A key may be spelled in these ways:

* dotted: ``cti.provider``, ``webitel.connection_string``; tables in TOML and mappings in mappings are dots;
* as the product's own code, where the settings class declares one: ``SysMsgLib``, ``webitelConnectionString``
  (facts: creatio-cti 4.4);
* as a variable: a double underscore is the dot (``CTI_WEBITEL__CONNECTION_STRING``); without one the key is under ``cti.``
  (``CTI_PROVIDER``), or somebody else's where no key is like it (``CTI_HOME``);
* as a user's parameter: without a prefix, ``useWebPhone`` or ``use_web_phone``. Only there: a host's own ``password`` is
  none of ours.

``None`` means "not set". One source that gives one key two values is refused, whichever way they are spelled.

A secret is given by value, as ``env:NAME`` (a variable holds it) or as ``file:PATH`` (a file holds it; relative to the TOML
file that says so, otherwise to the working directory). A user's own parameters may not refer: they would read the secrets
of the process for somebody who is not its administrator. Nor may they set what is the system's alone, such as how a connection
is secured. A path is relative to the same directory as a secret's file.
"""

from __future__ import annotations

from cti_framework.settings._core import CoreSettings
from cti_framework.settings._declared import secret_values, setting
from cti_framework.settings._fields import SettingDescription, describe_settings
from cti_framework.settings._sources import CORE_PREFIX as CORE_PREFIX
from cti_framework.settings._sources import MEDIA_PREFIX as MEDIA_PREFIX
from cti_framework.settings._system import SettingValue, SystemSettings

__all__ = [
    "CoreSettings",
    "SettingDescription",
    "SettingValue",
    "SystemSettings",
    "describe_settings",
    "secret_values",
    "setting",
]
