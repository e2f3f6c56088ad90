from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from semivox.types import Batch, Progress, StepOutput, Task


@pytest.mark.parametrize(("labeled", "unlabeled"), [(2, 3), (4, 0), (1, 1)])
def test_batch_is_cut_where_its_labels_end(labeled: int, unlabeled: int) -> None:
    count = labeled + unlabeled
    image = torch.arange(count * 8.0).view(count, 1, 2, 2, 2)
    batch = Batch(image, torch.zeros((labeled, 2, 2, 2), dtype=torch.int64), torch.arange(count))
    assert batch.labeled_count == labeled
    assert torch.equal(batch.labeled_image, image[:labeled])
    assert torch.equal(batch.unlabeled_image, image[labeled:])
    first, second = batch.split(image * 2)
    assert torch.equal(first, 2 * image[:labeled])
    assert torch.equal(second, 2 * image[labeled:])


def test_batch_of_slices_has_the_same_parts() -> None:
    batch = Batch(torch.zeros(3, 2, 4, 4), torch.zeros((1, 4, 4), dtype=torch.int64), torch.arange(3))
    assert batch.labeled_image.shape == (1, 2, 4, 4)
    assert batch.unlabeled_image.shape == (2, 2, 4, 4)


def test_progress_knows_its_share_of_the_stage() -> None:
    progress = Progress(stage="second", step=3, total=12, run_step=13, run_total=22)
    assert progress.fraction == 0.25


def test_records_are_tuples_that_cannot_be_changed() -> None:
    task = Task(dimensions=3, channels=1, classes=2, labeled_cases=8)
    with pytest.raises(AttributeError):
        task.classes = 3  # type: ignore[misc]
    output = StepOutput(torch.zeros(()), {"supervised": torch.zeros(())})
    assert output._fields == ("loss", "terms")


def test_records_are_known_without_torch() -> None:
    code = "import sys, semivox.types, semivox.methods, semivox.cli; sys.exit(3 if 'torch' in sys.modules else 0)"
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
