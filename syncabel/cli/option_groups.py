"""Options that belong together as one dataclass: said once, and offered by every command with a parameter of it."""

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any

__all__ = ["with_option_groups"]


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters that are dataclasses become, each in its place, an option for every field.

    Args:
        command: from the first such parameter on, all are keywords only, as their options will be.
    """
    own = inspect.signature(command)
    groups: dict[str, Any] = {each.name: each.annotation for each in own.parameters.values() if is_dataclass(each.annotation)}

    @wraps(command)
    def flat(**given: Any) -> None:
        made = {name: kind(**{field.name: given.pop(field.name) for field in fields(kind)}) for name, kind in groups.items()}
        command(**made, **given)

    spread = [option for parameter in own.parameters.values() for option in (_options(groups[parameter.name]) if parameter.name in groups else (parameter,))]
    vars(flat)["__signature__"] = own.replace(parameters=spread)  # what Typer reads
    return flat


def _options(kind: Any) -> list[inspect.Parameter]:
    return [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in inspect.signature(kind).parameters.values()]
