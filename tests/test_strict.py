from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Len

from semivox.config import EngineConfig, NetworkConfig, OptimizerConfig
from semivox.errors import UsageError
from semivox.settings import Fraction, PositiveInt, Settings
from semivox.strict import legal_values, load_strictly


@dataclass(frozen=True, kw_only=True)
class Inner(Settings):
    share: Fraction = 0.5
    kind: Literal["soft", "hard"] | None = None

    def __post_init__(self) -> None:
        if self.kind == "hard" and self.share:
            raise ValueError(f"kind hard needs share = 0, found {self.share:g}")


@dataclass(frozen=True, kw_only=True)
class Outer(Settings):
    inner: Inner
    sizes: tuple[PositiveInt, PositiveInt] = (1, 2)
    many: tuple[Inner, ...] = ()
    extras: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Dropping(Settings):
    drop: tuple[Literal["soft", "hard"], ...] = ()


def line(cls: type, raw: Any, path: str = "", source: str = "") -> str:
    with pytest.raises(UsageError) as caught:
        load_strictly(cls, raw, path, source=source)
    return str(caught.value)


def test_what_fits_is_loaded_with_nested_classes() -> None:
    raw = {"inner": {"share": 1, "kind": "soft"}, "sizes": [3, 4], "many": [{}], "extras": {"a": [1]}}
    expected = Outer(inner=Inner(share=1.0, kind="soft"), sizes=(3, 4), many=(Inner(),), extras={"a": [1]})
    assert load_strictly(Outer, raw) == expected
    assert load_strictly(int, 5, "seed") == 5


@pytest.mark.parametrize(
    ("cls", "raw", "expected"),
    [
        (OptimizerConfig, {"lr": "fast"}, "x.lr: found 'fast', a number greater than 0 is needed"),
        (OptimizerConfig, {"lr": 0}, "x.lr: found 0, a number greater than 0 is needed"),
        (OptimizerConfig, {"momentum": 1}, "x.momentum: found 1, a number of at least 0 and below 1 is needed"),
        (OptimizerConfig, {"schedule": "polly"}, "x.schedule: unknown value 'polly'.  Fix: did you mean 'poly'?"),
        (OptimizerConfig, {"momentun": 1}, "x.momentun: unknown key.  Fix: did you mean 'momentum'?"),
        (EngineConfig, {"steps": 2.5}, "x.steps: found 2.5, a whole number greater than 0 is needed"),
        (EngineConfig, {"compile": "yes"}, "x.compile: found 'yes', true or false is needed"),
        (NetworkConfig, {"width": 0}, "x.width: found 0, a whole number greater than 0 or null is needed"),
        (NetworkConfig, {"init": "x"}, "x.init: unknown value 'x'.  Fix: legal values: default, kaiming, null."),
        (Outer, {}, "x.inner: this key is missing, an object is needed.  Fix: add 'inner'."),
        (Outer, {"inner": 3}, "x.inner: found 3, an object is needed"),
        (Outer, {"inner": {"shape": 1}}, "x.inner.shape: unknown key.  Fix: did you mean 'share'?"),
        (Outer, {"inner": {"kind": "hard"}}, "x.inner: kind hard needs share = 0, found 0.5"),
        (Outer, {"inner": {}, "sizes": [1, 0]}, "x.sizes[1]: found 0, a whole number greater than 0 is needed"),
        (Outer, {"inner": {}, "sizes": [1]}, "x.sizes[1]: this key is missing"),
        (Outer, {"inner": {}, "sizes": [1, 2, 3]}, "x.sizes: found [1, 2, 3], a list of 2 entries, each a whole"),
        (Outer, {"inner": {}, "many": [{}, {"share": 2}]},
         "x.many[1].share: found 2, a number of at least 0 and of at most 1 is needed"),
        (Outer, {"inner": {}, "many": [{"shar": 2}]}, "x.many[0].shar: unknown key.  Fix: did you mean 'share'?"),
        (Outer, {"inner": {}, "extras": [1]}, "x.extras: found [1], an object or null is needed"),
        (int, "five", "x: found 'five', a whole number is needed"),
        (Outer, [1], "x: found [1], an object is needed"),
    ],
)
def test_a_fault_names_the_full_path_the_value_and_what_is_legal(cls: type, raw: Any, expected: str) -> None:
    assert f"  {expected}" in line(cls, raw, "x")


def test_a_file_is_named_before_the_key() -> None:
    assert "  a/plan.json: inner.share: found 2" in line(Outer, {"inner": {"share": 2}}, source="a/plan.json")
    assert "  a/plan.json: found [], an object is needed" in line(Outer, [], source="a/plan.json")


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[tuple[str, ...], Len(2)], "a list of 2 or more entries, each a text"),
        (tuple[int, ...], "a list of entries, each a whole number"),
        (Annotated[str, Len(1)], "a text of 1 or more characters"),
        (Literal[2, 3], "2 or 3"),
        (float | None, "a number or null"),
        (dict[str, Any], "an object"),
    ],
)
def test_types_are_said_in_words(annotation: Any, words: str) -> None:
    assert legal_values(annotation) == words


def test_loading_the_module_loads_nothing_heavy() -> None:
    code = "import sys, semivox.strict; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_word_where_a_list_is_needed_is_answered_with_brackets() -> None:
    assert "write [soft], a list in brackets" in line(Dropping, {"drop": "soft"})
