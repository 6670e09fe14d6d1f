"""What hosts and companion plugins may implement, and the typed way to call it.

An implementation is a function or method with the hook's name, marked with ``hookimpl``, of an object or a module::

    from cti_framework.hooks import hookimpl

    class Journal:
        @hookimpl
        def cti_call_finished(self, event):
            print(event.call.id, event.call.cause)

It names the arguments that it wants, in any order, and may leave the others out.

There are two kinds of hook. *Told* hooks are told an event; all implementations are called, what they return is of no
interest. *Asked* hooks give an answer; the first answer that is not ``None`` wins, and the rest are not asked. Implementations
are called in pluggy's order: the latest registered first, ``hookimpl(tryfirst=True)`` before and ``hookimpl(trylast=True)``
after all others.

Told implementations that are synchronous run in the event loop and have to be quick. Those that are ``async`` run beside the
session, in order, one at a time, and have to end in a time. Asked ones that are synchronous run in a thread of their own,
because they are there to look something up: a database without ``async`` holds up nobody else.

What one plugin does wrong is reported under its name and harms no other. Whoever does too much wrong in a row is told nothing
more. A misspelt hook, an argument that the hook does not give, a function named like a hook without the mark: each is refused
when the plugin is registered, because it would otherwise never be called and nobody would know why.
"""

from __future__ import annotations

from cti_framework.hooks.account import HookRecord
from cti_framework.hooks.asked import TimeLimit
from cti_framework.hooks.facade import Hooks
from cti_framework.hooks.specs import HookSpecs, hook_name, hookimpl

__all__ = ["HookRecord", "HookSpecs", "Hooks", "TimeLimit", "hook_name", "hookimpl"]
