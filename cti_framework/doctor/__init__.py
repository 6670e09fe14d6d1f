"""Finding out why there is no telephony: the way from the settings to a call, step by step, and on behind what fails.

``cti doctor`` shows it; a host can do the same::

    steps = await examine(lambda: CtiProviderInitializer(settings), CtiUser("ann"))
    print(json.dumps([step.as_dict() for step in steps]))

The steps, in order, by their names:

* ``settings_source``, ``companions``, ``settings``: can they be read and used, are all keys known, does each hold what it may?
* ``tls_files``: what the settings ``cti.tls_…`` name.
* ``provider_set``, ``provider_found``, ``provider_loadable``, ``provider_compatible``
* ``provider_settings``, ``secrets``: the provider's settings; what ``env:`` and ``file:`` lead to.
* ``log_in``, ``user_connection``: what the hooks ``cti_log_in`` and ``cti_user_connection`` say of the user.
* ``endpoints``, then of each address of the provider, under its name: ``engine: address``, ``encryption``, ``name``, ``port``,
  ``certificate``, ``clock``, ``handshake``
* ``provider_made``, ``authorisation``: a session is opened.
* ``answers``, ``snapshot``, ``clock``, then the provider's own steps, and ``provider_steps``, which counts them.

A step whose ground is missing is skipped and says what it needs. Nothing is connected that the host's log in refused, except the
addresses themselves, without any user.
"""

from __future__ import annotations

from cti_framework.diagnosis import Checks, DiagnosisStep, Endpoint, Finding, StepState
from cti_framework.doctor.examination import examine

__all__ = ["Checks", "DiagnosisStep", "Endpoint", "Finding", "StepState", "examine"]
