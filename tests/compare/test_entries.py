from __future__ import annotations

import pytest

from semivox.compare.entries import Entry, components_of, parse_entry, setting_name, split_entries, wishes_of
from semivox.errors import UsageError
from semivox.methods import get_method


@pytest.mark.parametrize(("text", "entry", "variant"), [
    ("caml", Entry("caml"), "default"),
    ("caml:released", Entry("caml", "released"), "released"),
    ("caml-occ", Entry("caml", dropped=("occ",)), "default-without_occ"),
    ("caml-cma-occ", Entry("caml", dropped=("occ", "cma")), "default-without_occ_cma"),
    ("caml:released-cma", Entry("caml", "released", ("cma",)), "released-without_cma"),
    ("supervised+data.labeled_per_batch=2", Entry("supervised", settings=("data.labeled_per_batch=2",)),
     "default-labeled_per_batch_2"),
    ("caml-occ+optimizer.lr=1e-3+network=unet3d",
     Entry("caml", dropped=("occ",), settings=("optimizer.lr=1e-3", "network=unet3d")),
     "default-without_occ-lr_1e_3-network_unet3d"),
    ("semivox.methods.caml:CAML:released-occ", Entry("semivox.methods.caml:CAML", "released", ("occ",)),
     "released-without_occ"),
])
def test_entry_is_read(text: str, entry: Entry, variant: str) -> None:
    assert parse_entry(text) == entry
    assert parse_entry(text).variant == variant


@pytest.mark.parametrize(("text", "code", "words"), [
    ("camll", "C1", "Fix: did you mean 'caml'?"),
    ("caml:relased", "C2", "did you mean 'released'?"),
    ("caml-oc", "C1", "caml has no component 'oc'.  Fix: did you mean 'occ'?"),
    ("mean_teacher-occ", "C1", "no named components"),
    ("caml:released:paper", "C1", "is not understood"),
    ("caml+optimizer.lrr=1", "C1", "unknown key.  Fix: did you mean 'optimizer.lr'?"),
    ("caml+engine.steps=5", "C3", "use --steps"),
    ("caml+method.drop=occ", "C3", "use --methods METHOD-COMPONENT"),
])
def test_unknown_name_has_the_near_match(text: str, code: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_entry(text)
    assert caught.value.code == code
    assert words in str(caught.value)


def test_comma_in_brackets_belongs_to_the_value() -> None:
    assert split_entries("caml, cml+data.patch_size=[32,32,16] ,") == ["caml", "cml+data.patch_size=[32,32,16]"]


def test_components_are_those_of_the_method() -> None:
    assert components_of(get_method("caml").Config) == ("occ", "cma", "cross")
    assert "unlabeled" in components_of(get_method("dualnet").Config)
    assert components_of(get_method("supervised").Config) == ()


def test_setting_in_a_folder_name() -> None:
    assert setting_name("network.name=monai:UNet") == "network_monai_UNet"
    assert setting_name("data.patch_size=[32,32,16]") == "patch_size_32_32_16"


def test_weights_on_the_way_are_kept_by_their_own_option_alone() -> None:
    with pytest.raises(UsageError, match="--show-test-peeking") as caught:
        wishes_of(["engine.keep_weights_every=5"], "supervised")
    assert caught.value.code == "C3"
