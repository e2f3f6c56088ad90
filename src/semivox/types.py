"""The records that travel between the rooms. Shapes: B batch, L labeled, U unlabeled, C channels, K classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Batch(NamedTuple):
    """One training batch, labeled samples first. Labels of unlabeled cases do not exist here."""

    image: Tensor
    """(L+U, C, *space) float32."""
    label: Tensor
    """(L, *space) int64, values 0..K-1."""
    case: Tensor
    """(L+U,) int64, index into the run's list of training cases (labeled cases come first: 0..N-1)."""

    @property
    def labeled_count(self) -> int:
        """L, the number of labeled samples."""
        return self.label.shape[0]

    @property
    def labeled_image(self) -> Tensor:
        """(L, C, *space)."""
        return self.image[: self.labeled_count]

    @property
    def unlabeled_image(self) -> Tensor:
        """(U, C, *space)."""
        return self.image[self.labeled_count :]

    def split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Cut anything with L+U rows into its labeled and its unlabeled rows."""
        return values[: self.labeled_count], values[self.labeled_count :]


class Progress(NamedTuple):
    """Where the run stands. Steps count from 0; ``total`` is the number of steps of the stage."""

    stage: str
    step: int
    total: int
    run_step: int
    run_total: int

    @property
    def fraction(self) -> float:
        """Share of the stage that is done, 0..1."""
        return self.step / self.total


class Stage(NamedTuple):
    """A part of a run with a share of its steps."""

    name: str
    share: float
    """Share of the run's steps; the shares of a run sum to 1."""
    schedule: Literal["constant", "step", "poly"] | None = None
    """Learning-rate schedule of this stage; None takes the optimizer's."""
    pick: Literal["last", "best_validation"] = "last"
    """Whose weights the next stage starts from: those of the last step, or of the best validation Dice."""


class StepOutput(NamedTuple):
    """What one training step returns: the loss to minimize, and detached scalars to log as they are."""

    loss: Tensor
    terms: dict[str, Tensor]


class Task(NamedTuple):
    """What is to be segmented."""

    dimensions: int
    """2 or 3."""
    channels: int
    classes: int
    """K, background included."""
    labeled_cases: int
    """Number of labeled training cases (memory banks have one slot for each)."""
