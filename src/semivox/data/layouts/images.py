"""nnU-Net raw v2 and Decathlon folders: images and masks with equal names in ``imagesTr`` and ``labelsTr``."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from semivox.data.cases import IMAGE_FOLDERS, ROLES, CaseFiles, Dataset, Role
from semivox.data.layouts.files import Listing, list_folder, listing_problems
from semivox.data.layouts.json import FILE, Declared, read_declared
from semivox.data.layouts.naming import Naming, find_naming, usual_channels
from semivox.data.layouts.splits import apply_splits, names_in, read_splits
from semivox.data.problems import Problem, relative
from semivox.errors import InputError
from semivox.imaging.files import count_channels
from semivox.wording import count_of, first_names, printable

LABEL_FOLDERS = {"imagesTr": "labelsTr", "imagesTs": "labelsTs"}


class Group(NamedTuple):
    """The image files of one case before they are judged."""

    name: str
    folder: str
    channels: dict[int, list[Path]]


def read_image_folders(root: Path) -> Dataset:
    """Build the dataset of a folder that has ``imagesTr``, ``imagesUn`` or ``imagesTs``."""
    declared, problems = read_declared(root)
    splits, found = read_splits(root)
    problems += found
    listings = {name: list_folder(root / name) for name in (*IMAGE_FOLDERS, *LABEL_FOLDERS.values())}
    problems += listing_problems(root, listings)
    naming = _naming(listings, declared, names_in(splits))
    groups = _groups(listings, naming)
    problems += _name_problems(groups, root)
    channels = usual_channels((group.channels for group in groups), declared=_declared_channels(declared)) \
        if groups else 0
    problems += _channel_problems(groups, channels, root) + _label_problems(listings, groups, root)
    stacked = _stacked_channels(groups, channels, declared)
    cases = [case._replace(stacked=stacked) for case in _cases(groups, listings)]
    channels *= stacked
    problems += _declaration_problems(declared, cases, naming=naming, channels=channels, listings=listings)
    problems += _unlabeled_note(cases)
    placed, found = apply_splits(cases, splits)
    return Dataset(root=root, layout="decathlon" if declared.decathlon else "nnunet",
                   name=declared.name or root.resolve().name, channel_names=_channel_names(declared, channels),
                   class_names=declared.class_names, splits=splits, problems=(*problems, *found),
                   cases=tuple(sorted(placed, key=lambda case: (ROLES.index(case.role), case.name))))


def _naming(listings: dict[str, Listing], declared: Declared, listed: set[str]) -> Naming:
    stems = [stem for folder in IMAGE_FOLDERS for stem in listings[folder].scans]
    known = {stem for folder in LABEL_FOLDERS.values() for stem in listings[folder].scans} | listed
    return find_naming(stems, known, channels=_declared_channels(declared))


def _declared_channels(declared: Declared) -> int | None:
    return len(declared.channel_names) if declared.channel_names else None


def _groups(listings: dict[str, Listing], naming: Naming) -> list[Group]:
    groups: dict[tuple[str, str], Group] = {}
    for folder in IMAGE_FOLDERS:
        for stem, paths in listings[folder].scans.items():
            name, channel = naming.parse(stem)
            group = groups.setdefault((folder, name), Group(name, folder, defaultdict(list)))
            group.channels[channel] += paths
    return list(groups.values())


def _cases(groups: list[Group], listings: dict[str, Listing]) -> list[CaseFiles]:
    cases: dict[str, CaseFiles] = {}
    for group in groups:
        label_folder = LABEL_FOLDERS.get(group.folder)
        labels = listings[label_folder].scans.get(group.name, ()) if label_folder else ()
        role: Role = "test" if group.folder == "imagesTs" else "train" if labels else "unlabeled"
        images = tuple(group.channels[channel][0] for channel in sorted(group.channels))
        # A name that is used twice was reported; the first folder keeps it so that names stay unique.
        cases.setdefault(group.name, CaseFiles(group.name, images, labels[0] if labels else None, role))
    return list(cases.values())


def _stacked_channels(groups: list[Group], channels: int, declared: Declared) -> int:
    """How many channels one file holds along a fourth axis: only where several are declared and one is found."""
    wanted = _declared_channels(declared) or 1
    if wanted == 1 or channels != 1:
        return 1
    for group in groups:
        try:
            return wanted if count_channels(group.channels[0][0]) > 1 else 1
        except (InputError, OSError):
            continue  # what is wrong with this file is said by whoever reads its voxels
    return 1


def _channel_names(declared: Declared, channels: int) -> tuple[str, ...]:
    names = (declared.channel_names or ())[:channels]
    return names + tuple(f"channel_{index}" for index in range(len(names), channels))


def _name_problems(groups: list[Group], root: Path) -> list[Problem]:
    found = []
    for group in groups:
        for paths in group.channels.values():
            if len(paths) > 1:
                names = " and ".join(relative(path, root) for path in paths)
                found.append(Problem("D6", "error", group.name, f"two files are the same channel of this case: {names}",
                                     "keep one of them"))
        if printable(group.name) != group.name:
            found.append(Problem("D15", "error", group.name, "the name has control characters",
                                 "rename the files with letters, digits, - and _"))
    by_name = defaultdict(list)
    for group in groups:
        by_name[group.name.casefold()].append(group)
    for clash in by_name.values():
        if len(clash) > 1:
            names = " and ".join(relative(next(iter(group.channels.values()))[0], root) for group in clash)
            found.append(Problem("D6", "error", clash[0].name, f"two files map to this case name: {names}",
                                 "give each case a name of its own (upper and lower case count as the same)"))
    return found


def _channel_problems(groups: list[Group], channels: int, root: Path) -> list[Problem]:
    found = []
    for group in groups:
        path = relative(next(iter(group.channels.values()))[0].parent, root)
        for channel in sorted(set(range(channels)) - set(group.channels)):
            found.append(Problem("D5", "error", f"{path}/{group.name}", f"channel {channel} is missing "
                                 f"({group.name}_{channel:04d}), the dataset has {count_of(channels, 'channel')}",
                                 "add the file, or remove the case"))
        extra = sorted(channel for channel in group.channels if channel >= channels)
        if extra:
            found.append(Problem("J8", "error", f"{path}/{group.name}", f"has channel {extra[0]}, but the dataset has "
                                 f"{count_of(channels, 'channel')}", "remove the extra file, or add this channel to "
                                 "every case and to dataset.json"))
    return found


def _label_problems(listings: dict[str, Listing], groups: list[Group], root: Path) -> list[Problem]:
    found = []
    for image_folder, label_folder in LABEL_FOLDERS.items():
        names = {group.name for group in groups if group.folder == image_folder}
        elsewhere = {group.name: group.folder for group in groups if group.folder != image_folder}
        for name, paths in listings[label_folder].scans.items():
            if len(paths) > 1:
                found.append(Problem("D6", "error", name, "two masks for this case: "
                                     + " and ".join(relative(path, root) for path in paths), "keep one of them"))
            if name not in names:
                hint = f" (there is one in {elsewhere[name]})" if name in elsewhere else ""
                found.append(Problem("D4", "error", relative(paths[0], root), f"this mask has no image {name} or "
                                     f"{name}_0000 in {image_folder}{hint}", "add the image, or remove the mask"))
    return found


def _declaration_problems(declared: Declared, cases: list[CaseFiles], *, naming: Naming, channels: int,
                          listings: dict[str, Listing]) -> list[Problem]:
    found = []
    wanted = _declared_channels(declared)
    if wanted is not None and cases and wanted != channels:
        found.append(_difference(f"declares {count_of(wanted, 'channel')}, the files have {channels}", code="J8"))
    sides = (("numTraining", declared.training_count, "training", declared.training, ("train", "unlabeled")),
             ("numTest", declared.test_count, "test", declared.test, ("test",)))
    for count_key, count, list_key, listed, roles in sides:
        folder = "imagesTs" if list_key == "test" else "imagesTr"
        here = {case.name: case for case in cases if case.role in roles and case.images[0].parent.name == folder}
        labeled = {name for name, case in here.items() if case.label is not None}
        if count is not None and count not in (len(here), len(labeled)):
            also = f" ({len(labeled)} with a mask)" if len(labeled) != len(here) else ""
            found.append(_difference(f"$.{count_key} is {count}, {folder} holds {count_of(len(here), 'case')}{also}"))
        if listed is not None:
            found += _list_difference(list_key, {naming.parse(stem)[0] for stem in listed}, here=set(here),
                                      labeled=labeled)
    if declared.ending:
        others = {path.name for name in IMAGE_FOLDERS for paths in listings[name].scans.values() for path in paths
                  if not path.name.endswith(declared.ending)}
        if others:
            found.append(_difference(f"$.file_ending is {declared.ending}, {count_of(len(others), 'image')} end "
                                     f"otherwise: {first_names(sorted(others))}"))
    return found


def _list_difference(key: str, listed: set[str], *, here: set[str], labeled: set[str]) -> list[Problem]:
    if listed in (here, labeled):
        return []
    parts = []
    for names, text in ((listed - here, "listed without a file"), (here - listed, "not listed")):
        if names:
            parts.append(f"{text}: {first_names(sorted(names))}")
    return [_difference(f"$.{key} lists {count_of(len(listed), 'case')}, the files are {len(here)}; "
                        + "; ".join(parts))]


def _difference(text: str, *, code: str = "J6") -> Problem:
    return Problem(code, "warning", FILE, f"{text}; the files are used", f"correct {FILE}, or the files")


def _unlabeled_note(cases: list[CaseFiles]) -> list[Problem]:
    names = [case.name for case in cases if case.role == "unlabeled" and case.images[0].parent.name == "imagesTr"]
    if not names:
        return []
    return [Problem("D3", "note", "imagesTr", f"{count_of(len(names), 'image')} without a mask in labelsTr, used as "
                    f"unlabeled: {first_names(names)}", "add masks if these cases were meant to be labeled")]
