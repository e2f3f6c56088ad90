"""What all verbs have in common: help, errors in one line, exit codes. Each verb's own work is tested beside it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import semivox
from semivox.cli import VERBS, app, as_failure, run
from semivox.errors import InputError, UsageError
from semivox.methods import METHODS

NAMES = ["demo", "check", "prepare", "train", "resume", "predict", "evaluate", "compare", "report", "methods", "doctor"]
ERROR_LINE = re.compile(r"ERROR SVX-[A-Z]+[0-9]*  \S.*?: \S.*\.  Fix: \S.*\.")


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
    return subprocess.run([sys.executable, "-m", "semivox", *map(str, arguments)], env=environment, check=False,
                          capture_output=True, text=True)


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]):
    """``fails(code, *arguments)`` -> the one line on stderr; nothing else is said."""

    def call(code: int, *arguments: object) -> str:
        assert run([str(part) for part in arguments]) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1, said.err
        assert ERROR_LINE.fullmatch(said.err.strip()), said.err
        assert "Traceback" not in said.err
        return said.err.strip()

    return call


# --- the way out -----------------------------------------------------------------------------------------------


def test_verbs_are_those_promised() -> None:
    assert len(VERBS) == len(NAMES)
    assert [info.name or info.callback.__name__ for info in app.registered_commands] == NAMES


@pytest.mark.parametrize("verb", NAMES)
def test_help_of_every_verb_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run([verb, "--help"]) == 0
    said = capsys.readouterr()
    text = re.sub(r"\s+", " ", said.out)
    found = re.search(rf"Example: semivox {verb}\b([^│╭]*)", text)
    assert found, text
    for option in re.findall(r"--[a-z-]+", found[1]):
        assert f"{option} " in text.replace(found[0], ""), f"the example's {option} is not an option"
    assert said.err == ""


def test_help_names_all_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"\b{verb}\b", text) for verb in NAMES)
    assert run([]) == 2  # nothing was asked for: the same help
    said = capsys.readouterr()
    assert all(re.search(rf"\b{verb}\b", said.out) for verb in NAMES)


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"{semivox.__version__}\n"


def test_module_is_the_command() -> None:
    done = command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{semivox.__version__}\n", "")
    done = command("trian")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ERROR SVX-C1  semivox: no such command 'trian'.  Fix: did you mean 'train'? Legal")
    assert len(done.stderr.splitlines()) == 1


# --- usage errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wrong", "right"), [
    ("trian", "train"), ("predct", "predict"), ("evalute", "evaluate"), ("method", "methods"), ("chek", "check")])
def test_unknown_verb_exits_2_with_the_near_match(wrong: str, right: str, fails) -> None:
    said = fails(2, wrong)
    assert f"no such command '{wrong}'" in said
    assert f"did you mean '{right}'" in said
    assert all(name in said for name in NAMES)


@pytest.mark.parametrize(("arguments", "near"), [
    (["train", "a", "b", "--stesp", "3"], "--steps"),
    (["train", "a", "b", "--methd", "supervised"], "--method"),
    (["methods", "--jsno"], "--json"),
    (["resume", "a", "--stoer", "b"], "--store"),
    (["predict", "a", "b", "c", "--overwrte"], "--overwrite"),
    (["evaluate", "a", "b", "--out", "c", "--protocoll", "clinical"], "--protocol"),
    (["check", "a", "--ot", "b"], "--out"),
    (["prepare", "a", "b", "--recip", "la"], "--recipe"),
])
def test_unknown_option_exits_2_with_the_near_match(arguments: list[str], near: str, fails) -> None:
    said = fails(2, *arguments)
    wrong = next(part for part in arguments if part.startswith("--") and part != "--out")
    assert f"no such option: {wrong}" in said
    assert near in said
    assert f"semivox {arguments[0]} --help" in said


@pytest.mark.parametrize(("arguments", "part"), [
    (["train"], "missing argument"),
    (["predict", "a", "b"], "missing argument"),
    (["evaluate", "a", "b"], "--out"),
    (["train", "a", "b", "c"], "unexpected extra argument"),
    (["train", "a", "b", "--steps", "many"], "--steps"),
    (["train", "a", "b", "--set"], "--set"),
    (["evaluate", "a", "b", "--out", "c", "--protocol", "best"], "--protocol"),
    (["check", "a", "--workers", "0"], "--workers"),
])
def test_wrong_use_exits_2_and_names_the_option(arguments: list[str], part: str, fails) -> None:
    assert part.lower() in fails(2, *arguments).lower()


@pytest.fixture
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("arguments", "parts"), [
    (["--labeled", "2"], ["--method", "no method named"]),
    (["--method", "supervised"], ["--labeled", "the number of labeled cases is not given"]),
    (["--method", "supervised", "--labeled", "none"], ["--labeled", "'none'"]),
    (["--method", "supervised", "--labeled", "0"], ["--labeled", "'0'"]),
    (["--method", "supervised", "--labeled", "-3"], ["--labeled"]),
    (["--method", "supervised", "--labeled", "²"], ["--labeled"]),
    (["--method", "supervisd", "--labeled", "2"], ["did you mean 'supervised'"]),
    (["--method", "nowhere:Method", "--labeled", "2"], ["nowhere"]),
    (["--method", "supervised", "--labeled", "99"], ["99 labeled cases", "ask for 1 to 6"]),
    (["--method", "supervised", "--labeled", "2", "--validation", "6"], ["6 validation cases"]),
    (["--method", "supervised", "--labeled", "2", "--steps", "0"], ["engine.steps"]),
    (["--method", "supervised", "--labeled", "2", "--precision", "fp16"], ["engine.precision", "bf16"]),
    (["--method", "supervised", "--labeled", "2", "--devices", "0"], ["engine.devices"]),
    (["--method", "supervised", "--labeled", "2", "--set", "optimizer.lrr=1"], ["did you mean 'optimizer.lr'"]),
    (["--method", "supervised", "--labeled", "2", "--set", "optimizer.lr=-1"], ["optimizer.lr: found -1"]),
    (["--method", "supervised", "--labeled", "2", "--set", "network=vnett"], ["network", "did you mean 'vnet'"]),
    (["--method", "supervised", "--labeled", "2", "--set", "network=monai:DynUnet"], ["DynUNet"]),
    (["--method", "supervised", "--labeled", "2", "--set", "data.patch_size=20,16,16"], ["patch_size", "16"]),
    (["--method", "supervised", "--labeled", "2", "--set", "engine.accelerator=tpu"], ["engine.accelerator"]),
])
def test_training_that_cannot_be_is_refused_and_leaves_nothing(
    arguments: list[str], parts: list[str], toy_store, somewhere: Path, fails
) -> None:
    said = fails(2, "train", toy_store.path, "run", *arguments)
    for part in parts:
        assert part in said
    assert list(somewhere.iterdir()) == []


@pytest.mark.parametrize(("content", "code", "part"), [
    ("[1]", 2, "an object is needed"),
    ('{"method": "supervised"}', 2, "method: found 'supervised'"),
    ('{"data": 3}', 2, "data: found 3"),
    ('{"optimiser": {}}', 2, "did you mean 'optimizer'"),
    ('{"method": {"name": "supervised"}, "data": {"labeled": 2, "patch": 3}}', 2, "data.patch: unknown key"),
    ("{", None, "not valid JSON at line 1"),
])
def test_configuration_file_that_is_wrong_is_named(
    content: str, code: int | None, part: str, toy_store, somewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (somewhere / "mine.json").write_text(content)
    found = run(["train", str(toy_store.path), "run", "--config", "mine.json", "--method", "supervised",
                 "--labeled", "2"] if content != '{"method": "supervised"}' else
                ["train", str(toy_store.path), "run", "--config", "mine.json"])
    said = capsys.readouterr().err
    assert found in ((code,) if code else (2, 3))
    assert part in said
    assert ERROR_LINE.fullmatch(said.strip())
    assert not (somewhere / "run").exists()


def test_shell_characters_are_taken_literally(somewhere: Path, fails) -> None:
    said = fails(2, "train", "$(touch pwned)", "run; touch pwned", "--method", "supervised", "--labeled", "2")
    assert "$(touch pwned)" in said
    assert list(somewhere.iterdir()) == []


# --- failures of other kinds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "code", "part"), [
    (InputError("I2", "a.nii", "cut off", "copy it again"), 3, "ERROR SVX-I2  a.nii: cut off.  Fix: copy it again."),
    (OSError(28, "No space left on device", "/full/disk"), 5, "ERROR SVX-C7  /full/disk: no space left on device.  "),
    (PermissionError(13, "Permission denied", "/root"), 5, "permission denied"),
    (MemoryError(), 5, "not enough memory"),
    (KeyError("something\nodd"), 1, "ERROR SVX-BUG  KeyError: "),
    (RuntimeError(), 1, "ERROR SVX-BUG  RuntimeError: no details.  Fix: run it again with SEMIVOX_DEBUG=1"),
])
def test_any_error_becomes_one_line_with_its_exit_code(error: Exception, code: int, part: str) -> None:
    failure = as_failure(error)
    assert failure.exit_code == code
    assert part in str(failure)
    assert len(str(failure).splitlines()) == 1


@pytest.mark.parametrize(("raised", "code"), [
    (KeyboardInterrupt(), 130), (typer.Exit(4), 4), (typer.Abort(), 130), (ZeroDivisionError("x"), 1)])
def test_way_a_verb_ends_is_the_exit_code(
    raised: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise raised

    monkeypatch.delenv("SEMIVOX_DEBUG", raising=False)
    info = next(info for info in app.registered_commands if info.callback.__name__ == "doctor")
    monkeypatch.setattr(info, "name", "doctor")
    monkeypatch.setattr(info, "callback", fail)
    assert run(["doctor"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_debug_variable_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMIVOX_DEBUG", "1")
    with pytest.raises(UsageError):
        run(["train", "nowhere", "run", "--method", "supervised", "--labeled", "2"])


# --- small verbs -----------------------------------------------------------------------------------------------


def test_methods_as_json_is_nothing_but_json_with_the_right_counts() -> None:
    done = command("methods", "--json")
    assert done.returncode == 0
    assert done.stderr == ""
    entries = json.loads(done.stdout)
    assert [entry["name"] for entry in entries] == list(METHODS)
    for entry in entries:
        assert {"name", "title", "year", "trainable_parameters", "deployed_parameters"} <= set(entry)
        assert isinstance(entry["title"], str)
        assert isinstance(entry["year"], int)
    counts = {entry["name"]: (entry["trainable_parameters"], entry["deployed_parameters"]) for entry in entries}
    assert counts["supervised"] == (9_448_866, 9_448_866)
    assert counts["mean_teacher"] == (9_448_866, 9_448_866)


def test_methods_are_listed_with_paper_year_and_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["methods"]) == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for name, entry in METHODS.items():
        assert name in text
        assert entry.title in text
        assert str(entry.year) in text
        assert entry.summary in text


def test_doctor_says_what_there_is_and_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from semivox.engine import environment

    monkeypatch.setattr(environment, "PACKAGES", (*environment.PACKAGES, "no-such-package"))
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["doctor"]) == 0
    text = capsys.readouterr().out
    for what in ("semivox", "python", "processor", "threads", "GPU", "bf16", "memory", "disk", "torch", "lightning"):
        assert re.search(rf"^\s*{what}", text, re.MULTILINE), f"{what} is not in:\n{text}"
    assert semivox.__version__ in text
    assert re.search(r"no-such-package +missing", text)
