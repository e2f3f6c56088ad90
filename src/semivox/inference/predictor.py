"""One case from its files to a label map on its own grid."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import nn

from semivox.errors import InputError, PartialFailure
from semivox.imaging.files import read_image, split_ending, write_image, write_label
from semivox.imaging.largest_component import largest_component
from semivox.imaging.normalize import network_input
from semivox.imaging.plan import Plan
from semivox.imaging.preprocess import Prepared, prepare_case
from semivox.imaging.resample import resample_linear, resample_probabilities
from semivox.inference.footprint import footprint, require_memory
from semivox.inference.plausibility import scan_warnings
from semivox.inference.sliding import Execution, predict
from semivox.inference.windows import Window, window_corners

PROBABILITIES = "probabilities"
"""Folder beside the label maps."""


class LoadedCase(NamedTuple):
    """A case read and prepared, before the network sees it."""

    paths: tuple[Path, ...]
    prepared: Prepared
    warnings: tuple[str, ...]


class CaseResult(NamedTuple):
    """What predicting one case gave."""

    name: str
    path: Path
    """The label map."""
    seconds: float
    """Prediction and writing, without reading."""
    windows: int
    voxels: dict[str, int]
    """Number of voxels of each class, by class name, on the scan's own grid."""
    warnings: tuple[str, ...]
    """Lines for the user, complete with code and fix."""


class Predictor:
    """A trained network with the plan it was trained with.

    Args:
        network: image (B, C, *patch) -> probabilities (B, K, *patch); moved to ``execution.device``.
        plan: of the network's training data.
        execution: windows per pass, precision, flips, device.
        overlap: share of the patch, 0 <= overlap < 1, instead of the plan's strides.

    Raises:
        UsageError: when ``overlap`` is outside its range.
    """

    def __init__(self, network: nn.Module, plan: Plan, *, execution: Execution | None = None,
                 overlap: float | None = None) -> None:
        self.plan, self.execution = plan, execution or Execution()
        self.window = Window.from_plan(plan, overlap)
        self.network = network.to(self.execution.device)

    def predict_case(self, paths: Sequence[Path], out_path: Path, *, probabilities: bool = False) -> CaseResult:
        """Segment one case and write the label map with the geometry and format of its first scan.

        Args:
            paths: one scan for each channel of the plan, in its order.
            out_path: the label map; a file that is there is replaced. Its stem is the case's name.
            probabilities: also write one float32 image for each class, ``probabilities/<name>_prob_<class>`` with the
                class's number, beside the label map.

        Raises:
            InputError: a scan is damaged, or the channels do not fit the plan or each other.
            PartialFailure: the network returned NaN or infinity for this case.
            ResourceError: no room for the work in progress.
        """
        return self.predict_loaded(self.load(paths), out_path, probabilities=probabilities)

    def load(self, paths: Sequence[Path]) -> LoadedCase:
        """Read and prepare one case; may run in a thread while another case is predicted."""
        wanted = [channel.name for channel in self.plan.channels]
        if len(paths) != len(wanted):
            raise InputError("P2", paths[0] if paths else "case", f"{len(paths)} channels given, the network was"
                             f" trained with {len(wanted)} ({', '.join(wanted)})", "give one file for each channel")
        scans = [read_image(path) for path in paths]
        prepared = prepare_case(scans, None, self.plan, case=str(paths[0]))
        warnings = scan_warnings(scans, prepared.orientation, self.plan, subject=str(paths[0]))
        prepared = prepared._replace(image=network_input(prepared.image, self.plan.intensity))
        return LoadedCase(tuple(paths), prepared, warnings)

    def predict_loaded(self, case: LoadedCase, out_path: Path, *, probabilities: bool = False) -> CaseResult:
        """The rest of :meth:`predict_case` for a case that is in memory."""
        start, (name, _) = time.monotonic(), split_ending(out_path.name)
        try:
            labels = self._labels(case, out_path if probabilities else None)
        except FloatingPointError as error:
            raise PartialFailure("P7", case.paths[0], f"{error} for this scan",
                                 "check the scan's intensities, or try --precision fp32") from None
        # probabilities are there already: a label map under its final name says that the case is complete
        write_label(out_path, labels, case.prepared.geometry, like=case.paths[0])
        # plane by plane: bincount makes an int64 copy
        counts = np.sum([np.bincount(plane.ravel(), minlength=self.plan.classes) for plane in labels], axis=0)
        voxels = dict(zip(self.plan.class_names, counts.tolist(), strict=True))
        return CaseResult(name, out_path, time.monotonic() - start, self._window_count(case.prepared), voxels,
                          case.warnings)

    def _labels(self, case: LoadedCase, probabilities_beside: Path | None) -> np.ndarray:
        """Label map in the axis order and size of the file."""
        prepared = case.prepared
        needed = footprint(self.network, prepared.image.shape, self.window, execution=self.execution,
                           classes=self.plan.classes)
        if needed is not None:
            require_memory(needed, self.execution, str(case.paths[0]))
        same_grid = prepared.image.shape[1:] == prepared.lps_shape
        labels, probabilities = predict(self.network, prepared.image, self.window, execution=self.execution,
                                        probabilities=not same_grid or probabilities_beside is not None)
        if probabilities is not None and probabilities_beside is not None:
            write_probabilities(probabilities, case, probabilities_beside)
        if self.plan.largest_component:
            labels = keep_largest_components(labels, probabilities)
        if probabilities is not None and not same_grid:
            labels = resample_probabilities(probabilities, prepared.lps_shape)
        return np.ascontiguousarray(prepared.orientation.undo(labels))

    def _window_count(self, prepared: Prepared) -> int:
        size = tuple(map(max, prepared.image.shape[1:], self.window.patch_size))
        return len(window_corners(size, self.window))


def keep_largest_components(labels: np.ndarray, probabilities: np.ndarray | None) -> np.ndarray:
    """Labels with the largest component of each foreground class alone.

    Args:
        labels: (X, Y, Z), a stack of slices is filtered as the volume that it is; not changed.
        probabilities: (K, X, Y, Z), made certain of the background in place where something was removed, so that labels
            on another grid lack it too.
    """
    kept = largest_component(labels)
    if probabilities is not None:
        removed = kept != labels
        for number, probability in enumerate(probabilities):
            probability[removed] = number == 0
    return kept


def write_probabilities(probabilities: np.ndarray, case: LoadedCase, label_path: Path) -> None:
    """Write each class's probability as a float32 image on the scan's own grid, one class in memory at a time.

    Args:
        probabilities: (K, X, Y, Z) on the grid of ``prepared.image``.
        case: tells the way back to the scan's grid.
        label_path: the case's label map; gives name, format and the folder that holds the new one.
    """
    prepared = case.prepared
    for number, probability in enumerate(probabilities):
        values = resample_linear(np.asarray(probability, np.float32), prepared.lps_shape)
        own_axes = np.ascontiguousarray(prepared.orientation.undo(values))
        write_image(probability_path(label_path, number), own_axes, prepared.geometry, like=case.paths[0])


def probability_path(label_path: Path, number: int) -> Path:
    """Where the probability of class ``number`` belongs."""
    name, ending = split_ending(label_path.name)
    return label_path.parent / PROBABILITIES / f"{name}_prob_{number}{ending}"
