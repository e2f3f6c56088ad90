"""What one entry of ``--methods`` means: ``caml``, ``caml:released``, ``caml-occ-cma``, ``caml+optimizer.lr=0.005``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, NamedTuple, get_args, get_type_hints

from semivox.errors import UsageError, did_you_mean
from semivox.methods import METHODS, get_method, plugins
from semivox.recipes import merge, parse_settings

GRAMMAR = "write METHOD, METHOD:PROFILE, METHOD-COMPONENT to leave a component out, or METHOD+KEY=VALUE"
PLANNED = {"method.name": "--methods", "method.drop": "--methods METHOD-COMPONENT",
           "profile": "--methods METHOD:PROFILE", "seed": "--seeds", "data.labeled": "--labeled",
           "data.labeled_draw": "--draws", "data.validation": "--validation", "engine.steps": "--steps",
           "engine.keep_weights_every": "--show-test-peeking"}
"""Keys that the matrix decides, and the options that say so."""
_BETWEEN_ENTRIES = re.compile(r",(?![^\[]*\])")
_BEFORE_SETTING = re.compile(r"\+(?=[a-z_]+[.=])")
_TAIL = re.compile(r"(?::(?P<profile>\w+))?(?P<dropped>(?:-\w+)*)")
_OWN_CLASS = re.compile(r"(?P<name>[\w.]+:[A-Za-z_]\w*)(?P<tail>.*)")


class Entry(NamedTuple):
    """A method as it takes part in a comparison."""

    method: str
    profile: str = "default"
    dropped: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    """``key=value``, for this entry alone."""

    @property
    def variant(self) -> str:
        """Readable name: ``default``, ``released``, ``default-without_occ``, ``default-labeled_per_batch_2``."""
        parts = [self.profile]
        parts += [f"without_{'_'.join(self.dropped)}"] * bool(self.dropped)
        return "-".join(parts + [setting_name(setting) for setting in self.settings])


def split_entries(text: str) -> list[str]:
    """The entries of ``--methods``; a comma inside of brackets belongs to a value."""
    return [part.strip() for part in _BETWEEN_ENTRIES.split(text) if part.strip()]


def parse_entry(text: str) -> Entry:
    """Read one entry, and check its names against the method's own.

    Raises:
        UsageError: C1, an unknown method, component or key, with the near match; C2, an unknown profile; C3, a key
            that the matrix decides.
    """
    head, *settings = _BEFORE_SETTING.split(text)
    name, tail = split_name(head)
    method = get_method(name)
    found = _TAIL.fullmatch(tail)
    if found is None:
        raise UsageError("C1", f"--methods {text}", f"{tail!r} after the method's name is not understood", GRAMMAR)
    profile = found["profile"] or "default"
    if profile not in method.profiles:
        raise UsageError("C2", f"--methods {text}", f"{name} has no profile {profile!r}",
                         did_you_mean(profile, method.profiles))
    wanted = found["dropped"].split("-")[1:]
    known = components_of(method.Config)
    for part in wanted:
        if part not in known:
            fix = did_you_mean(part, known) if known else "leave it out: this method has no named components"
            raise UsageError("C1", f"--methods {text}", f"{name} has no component {part!r}", fix)
    wishes_of(settings, name)
    return Entry(name, profile, tuple(part for part in known if part in wanted), tuple(settings))


def split_name(head: str) -> tuple[str, str]:
    """The method's name at the beginning, and what follows it; a class of one's own has a colon in its name."""
    known = sorted({*METHODS, *plugins()}, key=len, reverse=True)
    for name in known:
        if head == name or head.startswith((f"{name}:", f"{name}-")):
            return name, head[len(name):]
    own = _OWN_CLASS.fullmatch(head)
    if own is not None:
        return own["name"], own["tail"]
    return re.split("[:-]", head)[0], ""


def components_of(config: type) -> tuple[str, ...]:
    """Names that a method's ``drop`` takes; empty where it has none."""
    if not any(key.name == "drop" for key in fields(config)):
        return ()
    return tuple(map(str, get_args(get_args(get_type_hints(config)["drop"])[0])))


def wishes_of(settings: Iterable[str], method: str) -> dict[str, Any]:
    """``key=value`` strings as a nested part of a configuration.

    Raises:
        UsageError: C1, an unknown key; C3, one that the matrix decides.
    """
    wishes: dict[str, Any] = {}
    for setting in settings:
        path = setting.partition("=")[0]
        if path in PLANNED:
            raise UsageError("C3", f"--set {path}", "the matrix decides this for each run", f"use {PLANNED[path]}")
        wishes = merge(wishes, parse_settings([setting], method))
    return wishes


def setting_name(setting: str) -> str:
    """A setting as a part of a folder's name: ``data.labeled_per_batch=2`` is ``labeled_per_batch_2``."""
    path, _, value = setting.partition("=")
    section, _, key = path.rpartition(".")
    name = section if key == "name" and section else key
    return re.sub(r"[^A-Za-z0-9.]+", "_", f"{name}_{value}").strip("_.")
