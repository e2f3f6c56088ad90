from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from torch import Tensor, nn

from semivox.errors import InputError, PartialFailure, ResourceError, UsageError
from semivox.imaging.plan import ChannelPlan, Plan
from semivox.inference import footprint
from semivox.inference.predictor import Predictor
from semivox.inference.sliding import Execution

ENDINGS = [".nii", ".nii.gz", ".nrrd", ".mha"]
WriteScan = Callable[[Path, np.ndarray, np.ndarray], None]
MakePlan = Callable[..., Plan]
NetworkFactory = Callable[..., nn.Module]


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    result = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        one, two = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        result = result @ turn
    return result


def affine(matrix: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    result = np.eye(4)
    result[:3, :3] = matrix * spacing
    result[:3, 3] = (-31.5, 12.25, 107.0)
    return result


GRIDS = {
    "RAS": affine(np.eye(3), (1, 1, 1)),
    "LPS": affine(np.diag([-1.0, -1, 1]), (0.7, 0.7, 2.5)),
    "permuted": affine(np.eye(3)[[2, 0, 1]] * [[1], [-1], [-1]], (0.5, 1.25, 4)),
    "rotated": affine(rotation((10, -25, 33)), (0.8, 1.1, 3)),
}


def blocks(shape: tuple[int, int, int]) -> np.ndarray:
    """Values 0, 1, 2 without any symmetry."""
    return np.random.default_rng(3).integers(0, 3, shape).astype(np.float32)


def read_voxels(path: Path) -> np.ndarray:
    """With the format's own library."""
    if path.name.endswith((".nii", ".nii.gz")):
        return np.asarray(nibabel.load(path).dataobj)
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).transpose(2, 1, 0)


def assert_same_grid(path: Path, reference: Path) -> None:
    """Size, spacing, origin, direction as the format's own library reads them, and the NIfTI codes."""
    if path.name.endswith((".nii", ".nii.gz")):
        ours, theirs = nibabel.load(path), nibabel.load(reference)
        assert ours.shape == theirs.shape
        for field in ("pixdim", "srow_x", "srow_y", "srow_z", "qform_code", "sform_code", "xyzt_units"):
            np.testing.assert_array_equal(ours.header[field], theirs.header[field])
        return
    ours, theirs = (SimpleITK.ReadImage(str(file)) for file in (path, reference))
    assert ours.GetSize() == theirs.GetSize()
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(ours, name)(), getattr(theirs, name)(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("grid", GRIDS)
def test_identity_model_gives_the_scan_on_its_own_grid(grid: str, ending: str, tmp_path: Path, make_plan: MakePlan,
                                                       write_scan: WriteScan, threshold_network: NetworkFactory
                                                       ) -> None:
    scan, out, array = tmp_path / f"a_0000{ending}", tmp_path / f"a{ending}", blocks((21, 18, 7))
    write_scan(scan, array, GRIDS[grid])
    result = Predictor(threshold_network(3), make_plan()).predict_case([scan], out)
    np.testing.assert_array_equal(read_voxels(out), array)
    assert read_voxels(out).dtype == np.uint8
    assert_same_grid(out, scan)
    assert (result.name, result.path) == ("a", out)
    assert result.voxels == {"background": (array == 0).sum(), "a": (array == 1).sum(), "b": (array == 2).sum()}
    assert result.warnings == ()


def test_all_48_orientations_come_back_exactly(tmp_path: Path, make_plan: MakePlan, write_scan: WriteScan,
                                               threshold_network: NetworkFactory) -> None:
    predictor = Predictor(threshold_network(3), make_plan())
    array = blocks((9, 6, 5))
    for index, (axes, signs) in enumerate(product(permutations(range(3)), product((1, -1), repeat=3))):
        scan, out = tmp_path / f"{index}_0000.nii", tmp_path / f"{index}.nii"
        write_scan(scan, array, affine(np.eye(3)[list(axes)] * np.reshape(signs, (3, 1)), (1, 2, 3)))
        predictor.predict_case([scan], out)
        np.testing.assert_array_equal(read_voxels(out), array)
        assert_same_grid(out, scan)
    assert index == 47


@pytest.mark.parametrize("shape", [(2, 17, 5), (16, 16, 2), (33, 2, 3), (15, 17, 19)])
def test_thin_and_odd_scans_keep_their_size(shape: tuple[int, int, int], tmp_path: Path, make_plan: MakePlan,
                                            write_scan: WriteScan, threshold_network: NetworkFactory) -> None:
    scan, out = tmp_path / "a_0000.mha", tmp_path / "a.mha"
    write_scan(scan, blocks(shape), GRIDS["rotated"])
    Predictor(threshold_network(3), make_plan()).predict_case([scan], out)
    np.testing.assert_array_equal(read_voxels(out), blocks(shape))


def test_slices_of_a_volume_are_segmented_one_by_one(tmp_path: Path, make_plan: MakePlan, write_scan: WriteScan,
                                                     threshold_network: NetworkFactory) -> None:
    scan, out, array = tmp_path / "a_0000.nii.gz", tmp_path / "a.nii.gz", blocks((20, 11, 5))
    write_scan(scan, array, GRIDS["LPS"])
    plan = make_plan(dimensions=2, patch_size=(16, 16, 1), strides=(8, 8, 1), network="unet2d")
    network = threshold_network(3)
    result = Predictor(network, plan).predict_case([scan], out)
    np.testing.assert_array_equal(read_voxels(out), array)
    assert {shape[1:] for shape in network.calls} == {(1, 16, 16)}
    assert result.windows == 2 * 1 * 5


def ball(shape: tuple[int, int, int], grid: np.ndarray) -> np.ndarray:
    """1 inside a ball of 15 mm around the scan's center, smooth at the border as a scan is."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) - (np.array(shape) - 1) / 2
    distance = np.linalg.norm(index @ grid[:3, :3].T, axis=-1)
    return (1 / (1 + np.exp((distance - 15) / 0.5))).astype(np.float32)


@pytest.mark.parametrize("grid", GRIDS)
def test_resampled_scans_come_back_to_their_own_grid(grid: str, tmp_path: Path, make_plan: MakePlan,
                                                     write_scan: WriteScan, threshold_network: NetworkFactory) -> None:
    spacing = np.linalg.norm(GRIDS[grid][:3, :3], axis=0)
    shape = tuple(int(n) for n in np.ceil(41 / spacing))
    scan, out, array = tmp_path / "a_0000.nii.gz", tmp_path / "a.nii.gz", ball(shape, GRIDS[grid])
    write_scan(scan, array, GRIDS[grid])
    Predictor(threshold_network(3), make_plan(spacing_mm=(1.3, 1.3, 1.3))).predict_case([scan], out)
    assert_same_grid(out, scan)
    predicted, truth = read_voxels(out) == 1, array > 0.5
    assert 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()) > 0.97
    assert read_voxels(out).max() == 1


@pytest.mark.parametrize("spacing", [None, (1.3, 1.3, 1.3)])
def test_probabilities_lie_on_the_own_grid_and_agree_with_the_labels(
    spacing: tuple[float, float, float] | None, tmp_path: Path, make_plan: MakePlan, write_scan: WriteScan,
    threshold_network: NetworkFactory,
) -> None:
    scan, out = tmp_path / "a_0000.nii.gz", tmp_path / "out" / "a.nii.gz"
    write_scan(scan, ball((52, 32, 11), GRIDS["rotated"]), GRIDS["rotated"])
    Predictor(threshold_network(3), make_plan(spacing_mm=spacing)).predict_case([scan], out, probabilities=True)
    files = [out.parent / "probabilities" / f"a_prob_{number}.nii.gz" for number in range(3)]
    assert sorted((out.parent / "probabilities").iterdir()) == files
    for file in files:
        assert_same_grid(file, scan)
    probabilities = np.stack([read_voxels(file) for file in files])
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=2e-3)
    assert (probabilities.argmax(0) == read_voxels(out)).mean() > 0.9995


class NearlyTied(nn.Module):
    """Two classes whose probabilities differ by less than a float16 can hold, the higher one by the voxel."""

    def forward(self, image: Tensor) -> Tensor:
        lead = 2e-5 * (image[:, :1] - 1)  # float16 has steps of 2.4e-4 from 0.25 to 0.5
        return torch.cat([0.45 - lead, 0.45 + lead, torch.full_like(lead, 0.1)], 1)


@pytest.mark.parametrize("spacing", [None, (1.3, 1.3, 1.3)])
def test_labels_are_the_same_with_and_without_probabilities(
    spacing: tuple[float, float, float] | None, tmp_path: Path, make_plan: MakePlan, write_scan: WriteScan,
    mixing_network: NetworkFactory,
) -> None:
    scan, array = tmp_path / "a_0000.nii", blocks((20, 18, 9))
    write_scan(scan, array, GRIDS["LPS"])
    for index, network in enumerate((mixing_network(), NearlyTied())):
        predictor = Predictor(network, make_plan(spacing_mm=spacing))
        plain, both = tmp_path / f"plain{index}" / "a.nii", tmp_path / f"both{index}" / "a.nii"
        predictor.predict_case([scan], plain)
        predictor.predict_case([scan], both, probabilities=True)
        np.testing.assert_array_equal(read_voxels(both), read_voxels(plain))
        if index == 0:
            assert len(np.unique(read_voxels(plain))) > 1
    if spacing is None:  # resampling starts from what float16 holds, with and without
        np.testing.assert_array_equal(read_voxels(both), array > 1)


def test_resampled_labels_are_the_best_class_of_the_written_probabilities(
    tmp_path: Path, make_plan: MakePlan, write_scan: WriteScan, mixing_network: NetworkFactory,
) -> None:
    scan, out = tmp_path / "a_0000.nii", tmp_path / "out" / "a.nii"
    write_scan(scan, blocks((20, 18, 9)), GRIDS["LPS"])
    predictor = Predictor(mixing_network(), make_plan(spacing_mm=(1.3, 1.3, 1.3)))
    predictor.predict_case([scan], out, probabilities=True)
    files = [out.parent / "probabilities" / f"a_prob_{number}.nii" for number in range(3)]
    np.testing.assert_array_equal(np.argmax([read_voxels(file) for file in files], 0), read_voxels(out))


class SecondChannel(nn.Module):
    """Class 1 where the second channel is high."""

    def forward(self, image: Tensor) -> Tensor:
        high = (image[:, 1:] > 0.5).float()
        return torch.cat([1 - high, high], 1)


def test_channels_are_read_in_their_order(tmp_path: Path, make_plan: MakePlan, write_scan: WriteScan) -> None:
    channels = tuple(ChannelPlan(name=name, scheme="none", mean=0, std=1, percentile_00_5=0, percentile_99_5=0)
                     for name in ("T1", "T2"))
    first, second = np.zeros((12, 9, 8), np.float32), (blocks((12, 9, 8)) > 1).astype(np.float32)
    first[3] = 1
    paths = [tmp_path / "a_0000.nii.gz", tmp_path / "a_0001.nii.gz"]
    for path, array in zip(paths, (first, second), strict=True):
        write_scan(path, array, GRIDS["LPS"])
    predictor = Predictor(SecondChannel(), make_plan(channels=channels, class_names=("background", "organ")))
    predictor.predict_case(paths, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_voxels(tmp_path / "a.nii.gz"), second)
    with pytest.raises(InputError, match=r"1 channels given, the network was trained with 2 \(T1, T2\)") as caught:
        predictor.predict_case(paths[:1], tmp_path / "b.nii.gz")
    assert (caught.value.code, caught.value.exit_code) == ("P2", 3)


class NotFinite(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return torch.full((len(image), 3, *image.shape[2:]), float("nan"))


def test_answers_that_are_not_finite_fail_the_case_and_leave_no_file(tmp_path: Path, make_plan: MakePlan,
                                                                     write_scan: WriteScan) -> None:
    scan, out = tmp_path / "a_0000.nii.gz", tmp_path / "out" / "a.nii.gz"
    write_scan(scan, blocks((8, 8, 8)), GRIDS["RAS"])
    with pytest.raises(PartialFailure, match="NaN or infinity for this scan") as caught:
        Predictor(NotFinite(), make_plan()).predict_case([scan], out)
    assert (caught.value.code, caught.value.exit_code) == ("P7", 4)
    assert not out.exists()


def test_overlap_goes_above_the_strides_of_the_plan(tmp_path: Path, make_plan: MakePlan, write_scan: WriteScan,
                                                    threshold_network: NetworkFactory) -> None:
    scan, out, plan = tmp_path / "a_0000.nii", tmp_path / "a.nii", make_plan()
    write_scan(scan, blocks((32, 16, 16)), GRIDS["LPS"])
    counts = [Predictor(threshold_network(3), plan, overlap=overlap).predict_case([scan], out).windows
              for overlap in (None, 0.0, 0.75)]
    assert counts == [3, 2, 5]
    for overlap in (1.0, -0.1):
        with pytest.raises(UsageError, match="outside 0 <= overlap < 1"):
            Predictor(threshold_network(3), plan, overlap=overlap)


def test_batch_size_and_flips_do_not_change_an_equivariant_model(tmp_path: Path, make_plan: MakePlan,
                                                                 write_scan: WriteScan,
                                                                 threshold_network: NetworkFactory) -> None:
    scan, array = tmp_path / "a_0000.nii", blocks((20, 16, 17))
    write_scan(scan, array, GRIDS["rotated"])
    execution = Execution(batch_size=7, flips=(0, 1, 2), precision="fp32")
    Predictor(threshold_network(3), make_plan(), execution=execution).predict_case([scan], tmp_path / "a.nii")
    np.testing.assert_array_equal(read_voxels(tmp_path / "a.nii"), array)


def test_a_scan_that_will_not_fit_is_refused_before_the_first_window(
    tmp_path: Path, make_plan: MakePlan, write_scan: WriteScan, mixing_network: NetworkFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scan, out = tmp_path / "a_0000.nii", tmp_path / "a.nii"
    write_scan(scan, blocks((20, 16, 17)), GRIDS["LPS"])
    network, calls = mixing_network(), []
    predictor = Predictor(network, make_plan())
    network.register_forward_hook(lambda _, inputs, __: calls.append(inputs[0].device.type))
    monkeypatch.setattr(footprint, "kept_memory_bytes", lambda: 0)
    monkeypatch.setattr(footprint, "available_memory_bytes", lambda: 100_000)
    with pytest.raises(ResourceError, match="a_0000.nii: predicting it needs about 0.0 GB, 0.0 GB are free") as caught:
        predictor.predict_case([scan], out)
    assert (caught.value.code, caught.value.exit_code) == ("P5", 5)
    assert set(calls) == {"meta"}
    assert not out.exists()
    monkeypatch.setattr(footprint, "available_memory_bytes", lambda: 10**9)
    predictor.predict_case([scan], out)
    assert out.exists()
