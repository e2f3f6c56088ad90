"""What is planned: every run once, both bounds always, and every difference in a footnote."""

from __future__ import annotations

from typing import Any

import pytest
from matrix_material import TINY, tiny_matrix

from semivox.compare.plan import NO_UNLABELED, Wanted, plan_matrix
from semivox.errors import UsageError
from semivox.matrix import Matrix, from_json, to_json
from semivox.recipes import resolve


def places(matrix: Matrix) -> list[tuple[Any, ...]]:
    return [(spec.label, spec.labeled, spec.draw, spec.seed) for spec in matrix.runs]


def notes(matrix: Matrix) -> dict[tuple[str, ...], str]:
    return {tuple(note["methods"]): note["text"] for note in matrix.footnotes}


def test_matrix_is_methods_times_cases_times_seeds_with_both_bounds(toy_store) -> None:
    matrix = tiny_matrix(toy_store, methods=("mean_teacher", "supervised"), labeled=(2, 3), seeds=(0, 1))
    assert len(matrix.runs) == len({spec.path for spec in matrix.runs}) == 10
    assert places(matrix)[:5] == [
        ("supervised", 2, None, 0), ("Mean Teacher", 2, None, 0), ("supervised (all labels)", "all", None, 0),
        ("supervised", 3, None, 0), ("Mean Teacher", 3, None, 0)]
    assert [spec.role for spec in matrix.runs[:3]] == ["lower_bound", "method", "upper_bound"]
    assert from_json(to_json(matrix)) == matrix


def test_run_is_what_its_wishes_resolve_to(toy_store) -> None:
    matrix = tiny_matrix(toy_store, methods=("caml:released-occ+optimizer.lr=0.02",), draws=2, validation=1,
                         peek_every=2)
    spec = next(spec for spec in matrix.runs if spec.method == "caml" and spec.draw == 1)
    assert spec.path == (f"{toy_store.name.replace(' ', '.')}/caml/released-without_occ-lr_0.02-steps_4-draw_1/"
                         "labeled_2/seed_0")
    wishes = {**spec.wishes, "engine": {key: value for key, value in spec.wishes["engine"].items()
                                        if key != "keep_weights_every"}}
    config = resolve(toy_store.plan, wishes)
    assert (config.profile, config.method.drop, config.optimizer.lr) == ("released", ("occ",), 0.02)
    assert (config.data.labeled, config.data.labeled_draw, config.data.validation) == (2, 1, 1)
    assert (config.engine.steps, config.network.width, config.seed) == (4, 4, 0)
    assert spec.wishes["engine"]["keep_weights_every"] == 2


def test_all_labels_are_drawn_once(toy_store) -> None:
    matrix = tiny_matrix(toy_store, methods=("mean_teacher",), labeled=(2, "all"), draws=3)
    assert sorted(str(spec.draw) for spec in matrix.runs if spec.labeled == 2) == ["1", "1", "2", "2", "None", "None"]
    assert [spec.draw for spec in matrix.runs if spec.labeled == "all"] == [None, None]


def test_method_without_unlabeled_scans_is_left_out_and_that_is_said(make_store) -> None:
    store = make_store(unlabeled=0)
    matrix = tiny_matrix(store, methods=("mean_teacher",), labeled=(2, "all"))
    assert ("Mean Teacher", "all", None, 0) not in places(matrix)
    assert notes(matrix)["Mean Teacher",].endswith(NO_UNLABELED)


def test_differences_are_footnotes(toy_store) -> None:
    matrix = plan_matrix(toy_store, Wanted(methods=("mean_teacher", "caml:released", "cml", "crln"), labeled=(2,),
                                           steps=100))
    found = [(note["methods"], note["text"]) for note in matrix.footnotes]
    plan = toy_store.plan
    both = plan.labeled_per_batch + plan.unlabeled_per_batch
    text = {labels[0]: text for labels, text in found if len({*labels} - {"supervised (all labels)"}) == 1}
    assert f"data.unlabeled_per_batch is 0 ({plan.unlabeled_per_batch} elsewhere)" in text["supervised"]
    assert "optimizer.schedule is constant (poly elsewhere)" in text["CAML (released)"]
    assert "optimizer.lr is 0.0025 (0.01 elsewhere)" in text["CRLN"]
    assert "pretrain (constant learning rate), then" in text["CML"]
    assert both == 4
    assert any(set(labels) == {"supervised", "supervised (all labels)", "CML"}
               and "data.labeled_per_batch is 4 (2 elsewhere)" in text
               for labels, text in found)
    assert not any("Mean Teacher" in labels for labels, _ in found)


def test_settings_for_all_are_no_exception(toy_store) -> None:
    ground = ("data.labeled_per_batch=2", "data.unlabeled_per_batch=2", "optimizer.lr=0.02")
    matrix = tiny_matrix(toy_store, methods=("mean_teacher", "caml", "crln+optimizer.weight_decay=1e-4"),
                         settings=(*TINY, *ground))
    assert all(spec.wishes["data"]["labeled_per_batch"] == 2 for spec in matrix.runs)
    assert matrix.footnotes == ()


@pytest.mark.parametrize(("changes", "code", "words"), [
    ({"labeled": (99,)}, "D13", "99 labeled cases asked for"),
    ({"validation": 99}, "D13", "99 validation cases asked for"),
    ({"reference": "caml"}, "C1", "legal values: mean_teacher, supervised"),
    ({"protocol": "clinicl"}, "C1", "did you mean 'clinical'?"),
    ({"settings": ("method.occ_weight=1",)}, "C1", "unknown key"),
    ({"settings": ("seed=1",)}, "C3", "use --seeds"),
    ({"settings": ("data.labeled_per_batch=0",)}, "C2", "found 0"),
    ({"methods": ("mean_teacher+data.workers=1", "mean_teacher+data.workers=01")}, "C2", "found"),
])
def test_what_cannot_work_is_refused_before_anything_starts(toy_store, changes: dict[str, Any], code: str,
                                                            words: str) -> None:
    with pytest.raises(UsageError) as caught:
        tiny_matrix(toy_store, **{"methods": ("mean_teacher",), **changes})
    assert caught.value.code == code, caught.value
    assert words in str(caught.value).replace("Legal", "legal")


def test_entries_that_would_share_a_folder_are_refused(toy_store) -> None:
    with pytest.raises(UsageError, match="would share the folder"):
        tiny_matrix(toy_store, methods=("caml+optimizer.lr=1e-3", "caml+optimizer.lr=1e+3"))


def test_default_length_is_that_of_supervised_training(toy_store) -> None:
    matrix = plan_matrix(toy_store, Wanted(methods=("caml",), labeled=(2,)))
    assert {spec.steps for spec in matrix.runs} == {6000}


def test_upper_bound_has_the_footnotes_of_the_lower_one(toy_store) -> None:
    methods = ("mean_teacher+optimizer.lr=0.005", "caml+optimizer.lr=0.005", "cml+optimizer.lr=0.005")
    matrix = tiny_matrix(toy_store, methods=methods)
    notes = [note for note in matrix.footnotes if "optimizer.lr" in note["text"]]
    assert any({"supervised", "supervised (all labels)"} <= set(note["methods"]) for note in notes), matrix.footnotes
