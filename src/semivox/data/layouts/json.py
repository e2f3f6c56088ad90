"""``dataset.json``: what it declares about channels, classes, counts and lists. Never what exists: files decide."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from semivox.data.problems import Problem
from semivox.errors import InputError, did_you_mean
from semivox.fsio import read_json
from semivox.imaging.files import split_ending
from semivox.wording import count_of, first_names

T = TypeVar("T")

FILE = "dataset.json"
KNOWN_KEYS = frozenset({
    "channel_names", "labels", "numTraining", "numTest", "file_ending", "dataset", "training", "test", "modality",
    "name", "description", "reference", "licence", "license", "release", "relase", "tensorImageSize", "converted_by",
    "overwrite_image_reader_writer", "regions_class_order", "citation", "nnunet_version", "numUnlabeled"})
_KIND_NAMES: dict[type, str] = {int: "an integer", str: "a text", list: "a list", dict: "an object"}


class Declared(NamedTuple):
    """What ``dataset.json`` says, as far as it makes sense. None: it does not say."""

    decathlon: bool = False
    name: str | None = None
    channel_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    training_count: int | None = None
    test_count: int | None = None
    ending: str | None = None
    training: tuple[str, ...] | None = None
    """File names without folder and ending, or case names."""
    test: tuple[str, ...] | None = None


def read_declared(root: Path) -> tuple[Declared, list[Problem]]:
    """Read ``dataset.json``; a damaged one gives an error and declares nothing, an absent one gives a note."""
    path = root / FILE
    if not path.is_file():
        return Declared(), [Problem("J1", "note", FILE, "absent: the classes come from the masks and the channels "
                                    "are counted from the files", "write one to name channels and classes")]
    try:
        content = read_json(path)
    except InputError as error:
        return Declared(), [Problem(error.code, "error", FILE, error.problem, error.fix)]
    except PermissionError:
        return Declared(), [Problem("D1", "error", FILE, "no permission to read it", "grant read permission on it")]
    if not isinstance(content, dict):
        return Declared(), [_wrong_type("$", content, "an object")]
    problems: list[Problem] = []
    declared = Declared(
        decathlon="modality" in content and "channel_names" not in content,
        name=_typed(content, "name", str, problems=problems),
        channel_names=_channel_names(content, problems),
        class_names=_class_names(content, problems),
        training_count=_typed(content, "numTraining", int, problems=problems),
        test_count=_typed(content, "numTest", int, problems=problems),
        ending=_typed(content, "file_ending", str, problems=problems),
        training=_training_names(content, problems),
        test=_list_names(content, "test", problems))
    return declared, problems + _unknown_keys(content)


def class_names_from_labels(labels: object) -> tuple[str, ...]:
    """Class names by value from ``{"background": 0, "x": 1}`` (nnU-Net v2) or ``{"0": "background"}`` (Decathlon).

    Raises:
        InputError: J5, when the values are not 0, 1, ..., K-1 each once with the background at 0, or when the
            object uses nnU-Net's regions or ignore label; J4 for another type.
    """
    if not isinstance(labels, dict) or not labels:
        raise InputError("J4", FILE, f"$.labels is {_shown(labels)}, expected an object",
                         'write it as {"background": 0, "organ": 1}')
    values = _values_by_name(labels)
    if "ignore" in {name.lower() for name in values}:
        raise InputError("J5", FILE, "$.labels has nnU-Net's ignore label, which is not supported",
                         "remove it from dataset.json and give partly labeled cases no mask")
    _require_consecutive(values)
    names = {value: name for name, value in values.items()}
    background = [value for value, name in names.items() if name.lower() == "background"]
    if background not in ([], [0]):
        raise InputError("J5", FILE, f"$.labels gives the background the value {background[0]}, expected 0",
                         "renumber the labels, in dataset.json and in the masks")
    return tuple(names[value] for value in sorted(names))


def _values_by_name(labels: dict[str, Any]) -> dict[str, int]:
    if all(_is_integer_text(key) for key in labels) and all(isinstance(name, str) for name in labels.values()):
        repeated = sorted({name for name in labels.values() if list(labels.values()).count(name) > 1})
        if repeated:
            raise InputError("J5", FILE, f"$.labels names several values '{repeated[0]}'", "give each value its name")
        return {name: int(value) for value, name in labels.items()}
    for name, value in labels.items():
        if isinstance(value, list):
            raise InputError("J5", FILE, f"$.labels.{name} is a region {_shown(value)} (nnU-Net region-based "
                             "training), which is not supported", "give each class one value, 1, 2, ...")
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError("J5", FILE, f"$.labels.{name} is {_shown(value)}, expected an integer",
                             'write labels as {"background": 0, "organ": 1}')
    return labels


def _require_consecutive(values: dict[str, int]) -> None:
    numbers = sorted(values.values())
    repeated = sorted({number for number in numbers if numbers.count(number) > 1})
    if repeated:
        names = [name for name, number in values.items() if number == repeated[0]]
        raise InputError("J5", FILE, f"$.labels gives the value {repeated[0]} to several classes: {', '.join(names)}",
                         "give each class a value of its own")
    if numbers[0] != 0:
        raise InputError("J5", FILE, f"$.labels has no background: the values are {_listed(numbers)}, expected 0 to "
                         f"{len(numbers) - 1}", 'add "background": 0')
    if numbers != list(range(len(numbers))):
        raise InputError("J5", FILE, f"$.labels is not consecutive: the values are {_listed(numbers)}, expected 0 to "
                         f"{len(numbers) - 1}", "renumber the labels without a gap, in dataset.json and in the masks")
    if len(numbers) < 2:
        raise InputError("J5", FILE, "$.labels has only the background", 'add the classes, for example "organ": 1')


def _class_names(content: dict[str, Any], problems: list[Problem]) -> tuple[str, ...] | None:
    if "labels" not in content:
        problems.append(Problem("J4", "note", FILE, "has no $.labels: the classes come from the masks",
                                'add "labels": {"background": 0, "organ": 1} to name the classes'))
        return None
    try:
        return class_names_from_labels(content["labels"])
    except InputError as error:
        problems.append(Problem(error.code, "error", FILE, error.problem, error.fix))
        return None


def _channel_names(content: dict[str, Any], problems: list[Problem]) -> tuple[str, ...] | None:
    key = next((key for key in ("channel_names", "modality") if key in content), None)
    if key is None:
        problems.append(Problem("J4", "note", FILE, "has no $.channel_names: channels are counted from the files",
                                'add "channel_names": {"0": "MRI"} ("CT" selects the normalization for CT)'))
        return None
    names = content[key]
    if isinstance(names, list):
        names = {str(index): name for index, name in enumerate(names)}
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        problems.append(_wrong_type(f"$.{key}", names, 'an object such as {"0": "MRI"}'))
        return None
    if set(names) != {str(index) for index in range(len(names))} or not names:
        problems.append(Problem("J4", "error", FILE, f"$.{key} has the keys {', '.join(names) or 'none'}, expected "
                                "0, 1, 2, ... without a gap", "number the channels from 0"))
        return None
    return tuple(names[str(index)] for index in range(len(names)))


def _training_names(content: dict[str, Any], problems: list[Problem]) -> tuple[str, ...] | None:
    if "training" in content:
        return _list_names(content, "training", problems)
    cases = _typed(content, "dataset", dict, problems=problems)
    return None if cases is None else tuple(cases)


def _list_names(content: dict[str, Any], key: str, problems: list[Problem]) -> tuple[str, ...] | None:
    entries = _typed(content, key, list, problems=problems)
    if entries is None:
        return None
    names, outside = [], []
    for index, entry in enumerate(entries):
        image = entry.get("image") if isinstance(entry, dict) else entry
        image = image[0] if isinstance(image, list) and image else image
        if not isinstance(image, str):
            problems.append(_wrong_type(f"$.{key}[{index}]", entry, 'a path, or {"image": path, "label": path}'))
            return None
        names.append(split_ending(PurePosixPath(image.replace("\\", "/")).name)[0])
        if _leaves_folder(image):
            outside.append(image)
    if outside:
        problems.append(Problem("J7", "warning", FILE, f"$.{key} names {count_of(len(outside), 'path')} outside the "
                                f"dataset folder, which are not followed: {first_names(outside)}",
                                "put the files into imagesTr, and write paths relative to the dataset folder"))
    return tuple(names)


def _typed(content: dict[str, Any], key: str, kind: type[T], *, problems: list[Problem]) -> T | None:
    value = content.get(key)
    if value is None:
        return None
    if not isinstance(value, kind) or isinstance(value, bool):
        problems.append(_wrong_type(f"$.{key}", value, _KIND_NAMES[kind]))
        return None
    return value


def _unknown_keys(content: dict[str, Any]) -> list[Problem]:
    notes = []
    for key in content:
        if key not in KNOWN_KEYS:
            hint = did_you_mean(key, KNOWN_KEYS).partition("?")
            fix = f"{hint[0]}?" if hint[1] else "nothing to do"
            notes.append(Problem("J4", "note", FILE, f"the key '{key}' is unknown and is ignored", fix))
    return notes


def _leaves_folder(path: str) -> bool:
    pure = PurePosixPath(path.replace("\\", "/"))
    return pure.is_absolute() or ".." in pure.parts or path.startswith("~") or ":" in pure.parts[0]


def _wrong_type(where: str, value: object, wanted: str) -> Problem:
    return Problem("J4", "error", FILE, f"{where} is {_shown(value)}, expected {wanted}", "correct the file")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _listed(numbers: list[int]) -> str:
    return first_names(map(str, numbers), 10)


def _is_integer_text(text: str) -> bool:
    return text.isascii() and text.isdigit()
