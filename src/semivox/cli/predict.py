"""``semivox predict``: scans in, label maps out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

EXAMPLE = """
Segment scans; each label map has its scan's name, format and geometry: x_0000.nii.gz gives x.nii.gz.

Several channels of a case are x_0000, x_0001, ... Example: `semivox predict RUN STORE/imagesTs PREDICTIONS`
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=EXAMPLE)(predict)


def predict(
    run: Annotated[Path, typer.Argument(help="Directory of a finished training run.")],
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A scan, or a folder of scans.")],
    out: Annotated[Path, typer.Argument(help="Folder for the label maps; for one scan also a file name.")],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")] = False,
    flips: Annotated[bool, typer.Option("--flips", help="Average over all flips (3D: 8 times the work).")] = False,
    overlap: Annotated[float | None, typer.Option(help="Share of a window, 0 to below 1; default: the plan's.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Windows per forward pass.")] = 2,
    precision: Annotated[str, typer.Option(help="auto (as trained, where native), fp32 or bf16.")] = "auto",
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write class probabilities.")] = False,
    largest_component: Annotated[bool | None, typer.Option(
        "--largest-component/--no-largest-component",
        help="Keep only the largest component of each class; default: as the run's method asks.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    weights: Annotated[str, typer.Option(
        help="last, or what the run has kept besides: best_validation, step_N (such as step_500).")] = "last",
) -> None:
    """Find the cases, check everything that can be checked before work starts, and predict."""
    import time

    from semivox.engine.deploy import load_deployed
    from semivox.errors import SemivoxError
    from semivox.inference.batch import predict_cases
    from semivox.inference.cases import Job, find_inputs, plan_outputs, refuse_existing
    from semivox.inference.predictor import CaseResult, Predictor
    from semivox.inference.sliding import Execution
    from semivox.memory import peak_memory_mb
    from semivox.progress import track

    started = time.monotonic()
    target, wanted = _computing(device, precision)
    deployed = load_deployed(run, weights)
    jobs = plan_outputs(find_inputs(source, len(deployed.plan.channels)), source, out)
    if not overwrite:
        refuse_existing(jobs, probabilities=probabilities)
    if precision == "auto" and deployed.precision == "fp32":
        wanted = "fp32"  # what training did not round, prediction does not round either
    execution = Execution(batch, wanted, (0, 1, 2) if flips else (), target)
    plan = deployed.plan if largest_component is None else replace(deployed.plan, largest_component=largest_component)
    predictor = Predictor(deployed.network, plan, execution=execution, overlap=overlap)
    lines: list[str] = []
    try:
        with track("Predicting", total=len(jobs), unit="case") as bar:
            def done(job: Job, outcome: CaseResult | SemivoxError) -> None:
                if isinstance(outcome, CaseResult):
                    lines.extend(outcome.warnings)
                elif len(jobs) > 1:
                    lines.append(str(outcome))  # the error of a single case is the error of the command
                bar.advance()
                bar.note(job.case.name)

            results = predict_cases(predictor, jobs, probabilities=probabilities, done=done)
    finally:  # after the bar, and also when some cases failed
        for line in lines:
            typer.echo(line, err=True)
    named = "" if weights == "last" else f", weights {deployed.weights}"
    typer.echo(f"{len(results)} label map{'s' * (len(results) != 1)} written to {out}{named}"
               f" ({time.monotonic() - started:.0f} s, peak memory {peak_memory_mb() * 2**20 / 1e9:.1f} GB)")


def _computing(device: str, precision: str) -> tuple[torch.device, str]:
    """Device and precision as they are meant; on a CPU each window's maps take the place of those before them."""
    from semivox.inference.precision import resolve_device, resolve_precision
    from semivox.memory import keep_freed_memory

    target = resolve_device(device)
    wanted = resolve_precision(precision, target)
    if target.type == "cpu":
        keep_freed_memory()
    return target, wanted
