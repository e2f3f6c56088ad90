"""Load configuration strictly: what does not fit is one line with the key, the value found and what is legal."""

from __future__ import annotations

import json
import types
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Len, Lt, MinLen

from semivox.errors import UsageError, did_you_mean

T = TypeVar("T")
UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")
MISSING_KEY = ("missing", "missing_argument")
FIX = "correct the value"


def load_strictly(cls: type[T], raw: Any, path: str = "", *, source: str = "") -> T:
    """Build a settings dataclass (or a plain value) from parsed JSON: no unknown key, no other type, no bad range.

    Args:
        cls: a subclass of ``Settings``, or a plain type such as ``int``.
        raw: parsed JSON.
        path: dotted path of ``raw`` in the whole configuration; errors name keys below it.
        source: file that the keys come from; errors name it before the key.

    Raises:
        UsageError: C1 for an unknown key, with the near match; C2 for a missing key or a value that is not legal,
            with the value found and the legal values or range.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_json(json.dumps(raw), strict=True)
    except ValidationError as error:
        raise _translate(cls, error.errors(include_url=False)[0], path, source) from None


def legal_values(annotation: Any) -> str:
    """Say in words which JSON values a field's type allows, for example ``"a number of at least 0 and below 1"``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated and get_origin(arguments[0]) is tuple:
        shortest = next(limit.min_length for limit in arguments[1:] if isinstance(limit, Len | MinLen))
        return f"a list of {shortest} or more entries, each {legal_values(get_args(arguments[0])[0])}"
    if origin is Annotated:
        return _bounded(legal_values(arguments[0]), arguments[1:])
    if origin is Literal:
        return _alternatives([repr(value) for value in arguments])
    if origin in (Union, types.UnionType):
        known = [legal_values(part) for part in arguments if part is not type(None)]
        return _alternatives(known + ["null"] * (type(None) in arguments))
    if origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"a list of {count}entries, each {legal_values(arguments[0])}"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return words.get(annotation, "an object")


def _bounded(kind: str, limits: Sequence[Any]) -> str:
    """A kind of value with its range."""
    parts = []
    for limit in limits:
        match limit:
            case Gt(gt=bound):
                parts.append(f"greater than {bound}")
            case Ge(ge=bound):
                parts.append(f"of at least {bound}")
            case Le(le=bound):
                parts.append(f"of at most {bound}")
            case Lt(lt=bound):
                parts.append(f"below {bound}")
            case Len(min_length=bound) | MinLen(min_length=bound):
                parts.append(f"of {bound} or more characters")
    return " ".join([kind, " and ".join(parts)]).strip()


def _alternatives(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def _translate(cls: Any, error: Any, path: str, source: str) -> UsageError:
    """Turn one complaint of pydantic into ours."""
    location = list(error["loc"])
    steps = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    key = f"{path}{''.join(steps)}".lstrip(".")
    subject = ": ".join(part for part in (source, key) if part) or getattr(cls, "__name__", "value")
    kind = error["type"]
    if kind in UNKNOWN_KEY:
        return UsageError("C1", subject, "unknown key", did_you_mean(str(location[-1]), _keys(cls, location[:-1])))
    annotation = _annotation_at(cls, location)
    needed = legal_values(annotation)
    if kind in MISSING_KEY:
        return UsageError("C2", subject, f"this key is missing, {needed} is needed", f"add '{location[-1]}'")
    if kind == "value_error":  # of the class's own check, which says what it found
        return UsageError("C2", subject, str(error["ctx"]["error"]), FIX)
    if kind == "literal_error":
        options = [str(option) for option in get_args(_bare(annotation))] + ["null"] * needed.endswith(" null")
        found = error["input"]
        return UsageError("C2", subject, f"unknown value {found!r}", did_you_mean(str(found), options))
    lone = get_origin(_bare(annotation)) is tuple and isinstance(error["input"], str)
    fix = f"write [{error['input']}], a list in brackets" if lone else FIX
    return UsageError("C2", subject, f"found {error['input']!r}, {needed} is needed", fix)


def _annotation_at(cls: Any, location: Sequence[Any]) -> Any:
    """The type of the value at ``location`` inside of ``cls``."""
    annotation = cls
    for part in location:
        inner = _bare(annotation)
        parts = get_args(inner)
        if is_dataclass(inner) or hasattr(inner, "_fields"):  # a named tuple
            annotation = get_type_hints(inner, include_extras=True)[part]
        elif get_origin(inner) is tuple:
            annotation = parts[0] if parts[-1] is Ellipsis else parts[part]
        elif get_origin(inner) is dict:
            annotation = parts[1]
    return annotation


def _keys(cls: Any, location: Sequence[Any]) -> list[str]:
    """Names of the fields of the dataclass or named tuple at ``location``."""
    found = _bare(_annotation_at(cls, location))
    return list(getattr(found, "_fields", ())) or [field.name for field in fields(found)]


def _bare(annotation: Any) -> Any:
    """A type without its limits and without ``None``."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return _bare(next(part for part in get_args(annotation) if part is not type(None)))
    return annotation
