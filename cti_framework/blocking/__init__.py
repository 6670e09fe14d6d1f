"""``CtiModel`` for hosts without an event loop: Django, Odoo, desktop programs, scripts.

The session lives on an event loop in a thread of its own. Verbs wait and return values; events come by an iterator that waits,
or by callbacks.

==================  ==========================================================================================
``runtime``         the event loop in its thread, and how threads reach it
``work``            one thing that it does for a thread
``verbs``           the verbs of ``CtiModel``, each with a twin that waits
``readings``        what a host reads, for any thread
``subscription``    the iterator of events
``callbacks``       the callbacks' thread
``session``         ``BlockingCtiModel``, which a host holds, and ``open_session``
==================  ==========================================================================================
"""

from __future__ import annotations

from cti_framework.blocking.callbacks import EventCallback
from cti_framework.blocking.runtime import BlockingRuntime
from cti_framework.blocking.session import BlockingCtiModel, open_session
from cti_framework.blocking.subscription import BlockingSubscription
from cti_framework.blocking.verbs import BlockingVerbs

__all__ = ["BlockingCtiModel", "BlockingRuntime", "BlockingSubscription", "BlockingVerbs", "EventCallback", "open_session"]
