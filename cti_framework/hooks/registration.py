"""Looking at a plugin before it is registered: what it implements, and what would never be called."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pluggy

from cti_framework.errors import HookError

__all__ = ["adapted", "hooks_of"]


def hooks_of(plugin: object, name: str, manager: pluggy.PluginManager, given: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Find out which hooks a plugin implements.

    Args:
        plugin: A module, or an object.
        name: What it is called in errors.
        manager: Knows the mark.
        given: The arguments of each hook.

    Returns:
        The hooks' names.

    Raises:
        HookError: It is a class, implements no hook, or one of its hooks is misspelt, not marked, takes an argument that the
            hook does not give, is there twice, or is a wrapper.
    """
    if isinstance(plugin, type):
        raise HookError(f"The plugin '{name}' is the class {plugin.__name__}; register an instance of it.")
    hooks: set[str] = set()
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            _refuse_unmarked(plugin, name, attribute, given)
            continue
        hook = options.get("specname") or attribute
        if hook not in given:
            if not options.get("optionalhook"):
                raise HookError(
                    f"The plugin '{name}' implements '{hook}', which is no hook.{_did_you_mean(hook, given)}",
                    remedy="Correct the name; hookimpl(optionalhook=True) is for hooks of other versions.",
                )
            continue
        if options.get("wrapper") or options.get("hookwrapper"):
            raise HookError(
                f"The plugin '{name}' wraps {hook}; implementations are kept apart from each other, so none can wrap another."
            )
        _check_arguments(name, hook, getattr(plugin, attribute), given[hook])
        if hook in hooks:
            raise HookError(f"The plugin '{name}' implements {hook} twice.")
        hooks.add(hook)
    if not hooks:
        raise HookError(
            f"The plugin '{name}' implements no hook.", remedy="Mark its functions with @hookimpl of cti_framework.hooks."
        )
    return hooks


def _refuse_unmarked(plugin: object, name: str, attribute: str, hooks: Iterable[str]) -> None:
    if not attribute.startswith("cti_"):
        return
    # Without evaluating properties. Classes and modules of such a name are no attempt at a hook.
    value = inspect.getattr_static(plugin, attribute)
    if not callable(value) and not isinstance(value, classmethod | staticmethod):
        return
    if isinstance(value, type):
        return
    if attribute in hooks:
        raise HookError(
            f"The plugin '{name}' has a function '{attribute}' that is not marked as a hook.",
            remedy="Add @hookimpl of cti_framework.hooks to it, or rename it.",
        )
    raise HookError(
        f"The plugin '{name}' has a function '{attribute}', which is no hook.{_did_you_mean(attribute, hooks)}",
        remedy="Correct the name and add @hookimpl, or name it without 'cti_'.",
    )


def _check_arguments(name: str, hook: str, function: Callable[..., Any], given: tuple[str, ...]) -> None:
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in given:
            continue
        if parameter.default is parameter.empty:
            raise HookError(
                f"The plugin '{name}' takes '{parameter.name}' in {hook}, which gives {', '.join(given)}."
                f"{_did_you_mean(parameter.name, given)}",
                remedy="Name only arguments that the hook gives.",
            )


def adapted(function: Callable[..., Any], given: tuple[str, ...]) -> Callable[..., Any]:
    """Make a function that takes all arguments by position of one that takes some of them, in its own order.

    Args:
        function: The implementation.
        given: The names of all arguments.

    Returns:
        What to call.
    """
    parameters = list(inspect.signature(function).parameters.values())
    by_position: list[int] = []
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) or parameter.name not in given:
            break
        by_position.append(given.index(parameter.name))
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        named = set(given)
    else:
        named = {parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY}
    by_name = [(name, place) for place, name in enumerate(given) if name in named and place not in by_position]
    if not by_name and by_position == list(range(len(given))):
        return function
    return lambda *arguments: function(
        *(arguments[place] for place in by_position), **{name: arguments[place] for name, place in by_name}
    )


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
