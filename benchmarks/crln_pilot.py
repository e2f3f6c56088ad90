"""Does CRLN's interaction module learn, and by which step? Literal against residual attention on the left atrium.

    python benchmarks/crln_pilot.py STORE [--steps 1500] [--every 100]

Trains the V-Net and the module on 8 labeled cases alone (segmentation loss + loss of the class map M, the optimizer and
learning rates of the published run of 9000 steps, two patches a step), once with each form of Eq. 4. Writes the Dice of
M and of the network on fixed patches of the 10 validation cases to results/crln_pilot.csv. Rectification of
pseudo-labels by M makes sense from the step on at which M is about as good as the network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rows import append

from semivox.components.hard_dice import hard_dice
from semivox.data.augment import Augmentation
from semivox.data.loading import Order, batches, build_loader
from semivox.data.splits import choose_split
from semivox.data.store import Store
from semivox.engine.build import build_method, to_memory_format
from semivox.engine.optim import build_optimizer, learning_rate, set_learning_rate
from semivox.losses.supervised import ce_dice
from semivox.methods.crln import CRLN
from semivox.progress import track
from semivox.recipes import resolve
from semivox.seeding import seed_torch
from semivox.types import Batch, Progress

RESULTS = Path(__file__).parent / "results" / "crln_pilot.csv"
COLUMNS = ("attention", "seed", "step", "dice_of_m", "dice_of_network", "std_of_m")
LAYOUT = torch.channels_last_3d
PATCHES_PER_CASE = 3


def main() -> None:
    """Train both forms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for residual in (False, True):
        train(Store.open(options.store), options, residual=residual)


def train(store: Store, options: argparse.Namespace, *, residual: bool) -> None:
    """Train network and module, and append a row every so many steps."""
    config = resolve(store.plan, {"method": {"name": "crln", "dim_residual": residual}, "seed": options.seed,
                                  "engine": {"steps": options.steps}})
    split = choose_split(store, labeled=8, validation=10)
    seed_torch(options.seed, "init")
    method = build_method(config, store.plan, len(split.labeled))
    assert isinstance(method, CRLN)
    to_memory_format(method, LAYOUT, 3)
    optimizer = build_optimizer(method.parameters_for("main"), config.optimizer)
    how = Augmentation(store.plan.patch_size, 3, "weak", 0.0)
    order = Order(options.seed, 2, 0, range(options.steps))
    held_out = validation_batch(store, options)
    name = "residual" if residual else "literal"
    with track(name, total=options.steps, unit="step") as bar:
        for step, (batch, _) in enumerate(batches(build_loader(store, split, order, how=how, workers=1))):
            seed_torch(options.seed, "forward", step)
            with torch.autocast("cpu", torch.bfloat16):
                output, opinion = method.student(batch.image.contiguous(memory_format=LAYOUT))
            optimizer.zero_grad(set_to_none=True)
            (ce_dice(output.logits, batch.label) + ce_dice(opinion, batch.label)).backward()
            progress = Progress("main", step, CRLN.published_steps, step, CRLN.published_steps)
            set_learning_rate(optimizer, learning_rate(config, progress))
            optimizer.step()
            bar.advance()
            if (step + 1) % options.every == 0:
                append(RESULTS, COLUMNS, [{"attention": name, "seed": options.seed, "step": step + 1,
                                           **score(method, held_out)}])


def validation_batch(store: Store, options: argparse.Namespace) -> Batch:
    """Fixed patches of the validation cases with their labels: used for these figures alone."""
    split = choose_split(store, labeled=8, validation=10)
    seen = split._replace(labeled=split.validation, unlabeled=())
    order = Order(options.seed, PATCHES_PER_CASE * len(split.validation), 0, range(1))
    how = Augmentation(store.plan.patch_size, 3, "crop", 0.5)
    return next(batches(build_loader(store, seen, order, how=how, workers=0)))[0]


@torch.no_grad()
def score(method: CRLN, batch: Batch) -> dict[str, float]:
    """Dice in percent of argmax M and of the network over all held-out patches, and the spread of M."""
    method.student.eval()
    outputs = []
    for image in batch.image.split(6):
        with torch.autocast("cpu", torch.bfloat16):
            outputs.append(method.student(image.contiguous(memory_format=LAYOUT)))
    method.student.train()
    network, opinion = (torch.cat(parts) for parts in ([each[0].logits for each in outputs],
                                                      [each[1] for each in outputs]))
    answers = {"dice_of_m": opinion, "dice_of_network": network}
    found = {name: 100 * float(hard_dice(logits.argmax(1), batch.label, classes=logits.shape[1]))
             for name, logits in answers.items()}
    return {**found, "std_of_m": float(opinion.std())}


if __name__ == "__main__":
    main()
