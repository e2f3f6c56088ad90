"""Commands that the pages show can be given, and those of the README work."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import typer
from doc_pages import DOCS, PAGES, ROOT, commands, fenced, inline_commands, name_of

from semivox.cli import app, run, train
from semivox.errors import UsageError
from semivox.imaging.plan import ChannelPlan, Plan
from semivox.methods import METHODS
from semivox.recipes import merge, nest, parse_settings, resolve

README = ROOT / "README.md"
STORY = ["doctor", "check", "prepare", "train", "resume", "predict", "evaluate"]
STEPS = "3"
QUICK = ["--set", "network.width=4", "--set", "data.patch_size=16,16,16", "--set", "data.workers=0",
         "--set", "engine.log_every=1"]

VERBS = typer.main.get_command(app).commands
CHANNEL = ChannelPlan(name="MRI", scheme="zscore", mean=0, std=1, percentile_00_5=0, percentile_99_5=1)
PLAN = Plan(recipe="auto", dimensions=3, channels=(CHANNEL,), class_names=("background", "organ"), spacing_mm=None,
            spacing_known=True, patch_size=(64, 64, 32), labeled_per_batch=2, unlabeled_per_batch=2, network="vnet")


def parsed(words: list[str]) -> dict:
    """The values that the command line reads; raises what a user would see as an error."""
    verb, *arguments = words
    assert verb in VERBS, f"there is no verb {verb!r}"
    return VERBS[verb].make_context(verb, arguments).params


def options_of(verb: str) -> set[str]:
    return {"--help", *(name for parameter in VERBS[verb].params for name in parameter.opts)}


@pytest.mark.parametrize("page", [page for page in PAGES if list(commands(page))], ids=name_of)
def test_commands_in_blocks_parse(page: Path) -> None:
    for words in commands(page):
        parsed(words)


@pytest.mark.parametrize("page", [page for page in PAGES if list(inline_commands(page))], ids=name_of)
def test_commands_in_the_text_name_verbs_and_options_that_exist(page: Path) -> None:
    for verb, *arguments in inline_commands(page):
        if verb == "VERB":
            continue
        assert verb in VERBS
        assert [word for word in arguments if word.startswith("--") and word not in options_of(verb)] == []


@pytest.mark.parametrize("page", [page for page in PAGES if "--set" in page.read_text(encoding="utf-8")], ids=name_of)
def test_settings_reach_fields_with_legal_values(page: Path) -> None:
    for words in commands(page):
        values = parsed(words) if words[0] == "train" else {}
        method = values.get("method") or "mean_teacher"  # that of the file where --config names one
        if not values.get("settings") or ":" in method:
            continue  # a class of the reader's own is tested with the page that shows it
        wishes = nest("method.name", method)
        resolve(PLAN, merge(wishes, parse_settings(values["settings"], method)))


def is_legal(setting: str, method: str) -> bool:
    try:
        resolve(PLAN, merge(nest("method.name", method), parse_settings([setting], method)))
    except UsageError:
        return False
    return True


def test_settings_in_the_text_reach_fields_with_legal_values() -> None:
    checked = 0
    for page in PAGES:
        for setting in re.findall(r"`--set ([a-z_.]+=[^`<\s]+)`", page.read_text(encoding="utf-8")):
            methods = [page.stem] if page.stem in METHODS else METHODS
            assert any(is_legal(setting, method) for method in methods), f"{page.name}: {setting}"
            checked += 1
    assert checked > 5


def test_partial_configuration_of_the_page_is_legal(tmp_path: Path) -> None:
    (block,) = fenced(DOCS / "how-to" / "configure-a-run.md", "json")
    file = tmp_path / "mine.json"
    file.write_text(block)
    config = resolve(PLAN, train.read_wishes(file))
    assert config.method.consistency_weight == 0.2
    assert config.engine.steps == 2000


def test_typo_is_answered_as_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    (expected,) = fenced(DOCS / "how-to" / "configure-a-run.md", "text")
    arguments = ["train", "STORE", "RUN", "--method", "mean_teacher", "--labeled", "2"]
    assert run([*arguments, "--set", "method.ema_decy=0.9"]) == 2  # before the store is opened
    assert capsys.readouterr().err.startswith(expected.strip().removesuffix("..."))


def quick(words: list[str]) -> list[str]:
    """The same command with a small network and few steps."""
    if words[0] == "prepare":
        return [*words, "--workers", "0"]
    if words[0] == "train":
        at = words.index("--steps") + 1
        return [*words[:at], STEPS, *words[at + 1 :], *QUICK]
    return words


@pytest.fixture(scope="module")
def story(make_dataset: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the commands of the README were given, one after the other."""
    folder = tmp_path_factory.mktemp("story")
    shutil.copytree(make_dataset(), folder / "scans")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in commands(README):
            code = run(quick(words))
            assert code == 0, f"semivox {' '.join(words)} ended with {code}"
    return folder


def test_readme_tells_the_story_in_seven_commands() -> None:
    assert [words[0] for words in commands(README)] == STORY


def test_story_ends_with_scores_of_every_test_scan(story: Path) -> None:
    with open(story / "scores" / "cases.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(list((story / "scans" / "labelsTs").iterdir())) == 2
    assert all(0 <= float(row["dice"]) <= 100 for row in rows)
    assert (story / "scores" / "overlay.png").read_bytes().startswith(b"\x89PNG")


def test_story_keeps_name_size_and_geometry_of_the_scans(story: Path) -> None:
    predictions = sorted(path.name for path in (story / "predictions").iterdir())
    assert predictions == sorted(path.name for path in (story / "scans" / "labelsTs").iterdir())
    for name in predictions:
        scan = nibabel.load(story / "scans" / "imagesTs" / name.replace(".nii", "_0000.nii"))
        found = nibabel.load(story / "predictions" / name)
        assert found.shape == scan.shape
        np.testing.assert_array_equal(found.affine, scan.affine)


def test_story_trains_on_the_labels_that_it_says(story: Path) -> None:
    split = json.loads((story / "runs" / "mean_teacher" / "run.json").read_text())["split"]
    assert len(split["labeled"]) == 4
    assert len(split["unlabeled"]) == 4
    assert set(split["labeled"]).isdisjoint(split["unlabeled"])


def first_column(page: Path, heading: str) -> list[str]:
    """The first code of each row of the table under a heading (the first table when it is empty)."""
    text = page.read_text(encoding="utf-8").partition(heading)[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def test_run_directory_is_as_its_page_says(story: Path) -> None:
    page, made = DOCS / "reference" / "run-directory.md", story / "runs" / "mean_teacher"
    files = first_column(page, "# Run directory")
    assert sorted(name.rstrip("/") for name in files) == sorted(
        path.name for path in made.iterdir() if not path.name.startswith("."))
    generation = made / "checkpoints" / f"{int(STEPS):08d}"
    named = [name.replace("<turn>", "main") for name in first_column(page, "## checkpoints")]
    assert sorted(named) == sorted(path.name for path in generation.iterdir())
    rows = [json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines()]
    assert list(rows[-1]) == first_column(page, "## metrics.jsonl")
    assert set(json.loads((made / "run.json").read_text())) == {"store", "store_digest", "name", "split"}


def test_readme_names_what_is_in_a_store_and_a_run(story: Path) -> None:
    text = README.read_text(encoding="utf-8").partition("## What comes out")[2].partition("\n## ")[0]
    for folder, cell in re.findall(r"^\| `([\w/]+)/` \| (.*) \|$", text, re.MULTILINE):
        for name in re.findall(r"`([\w.]+\.(?:json|jsonl|csv|png|safetensors)|\w+/)`", cell):
            assert (story / folder / name).exists(), f"{folder}/{name}"
