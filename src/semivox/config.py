"""The configuration of a run: frozen dataclasses, loaded strictly, errors with the full path of the key.

A run is what its resolved ``config.json`` says; that file is itself accepted by ``--config``. The layers, from
weak to strong: defaults of the method and of the store's plan, the profile, ``--config``, the flags, ``--set``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from semivox.errors import UsageError, did_you_mean
from semivox.imaging.plan import Intensity
from semivox.methods import get_method
from semivox.methods.base import MethodConfig
from semivox.settings import (
    Fraction,
    FractionBelowOne,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)
from semivox.strict import load_strictly

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Settings):
    """The backbone."""

    name: str = "vnet"
    """vnet, unet3d, unet2d, resnet34_vnet, resnet34_unet2d, or monai:<class>."""
    width: PositiveInt | None = None
    """Channels at full resolution, doubled at each level; null is the network's own (16)."""
    decoder: Literal["deconv", "trilinear", "nearest", "bilinear"] | None = None
    """Kind of upsampling; null is the network's own (vnet deconv, unet2d bilinear)."""
    dropout: FractionBelowOne | None = None
    """Probability; null is the network's own (vnet 0.5), 0 switches it off."""
    init: Literal["default", "kaiming"] | None = None
    """Initial weights; null is the network's own."""
    options: dict[str, Any] = field(default_factory=dict)
    """Constructor arguments of a monai: network, by their names there."""


@dataclass(frozen=True, kw_only=True)
class DataConfig(Settings):
    """Which cases, and how patches are drawn from them."""

    labeled: PositiveInt | None = None
    """Number of labeled cases; null means all that have a label."""
    labeled_draw: NonNegativeInt | None = None
    """Seed of a random labeled subset; null takes the first cases of the train list (literature)."""
    validation: NonNegativeInt = 0
    """Validation cases, from the end of the train list. Their images stay in the unlabeled stream."""
    labeled_per_batch: PositiveInt = 2
    """Labeled patches a step and process."""
    unlabeled_per_batch: NonNegativeInt = 2
    """Unlabeled patches a step and process."""
    patch_size: tuple[PositiveInt, PositiveInt, PositiveInt] = (64, 64, 32)
    """Voxels; the last is 1 for 2D networks."""
    augmentation: Literal["weak", "crop", "strong"] = "weak"
    """crop: a random crop. weak: quarter turns and flips in plane before it. strong: changed intensities too."""
    intensity: Intensity = "stored"
    """stored: as prepared. minmax: each scan and channel from its own minimum and maximum to 0 and 1 (CRLN, TraCoCo);
    the same in training, validation and prediction."""
    foreground_fraction: Fraction = 0.0
    """Share of labeled patches that are centered on a foreground voxel."""
    workers: NonNegativeInt = 1
    """Loader processes; 0 loads in the training process."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Settings):
    """Optimizer and learning-rate schedule; the schedule runs over each stage."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: PositiveFloat = 0.01
    momentum: FractionBelowOne = 0.9
    """SGD momentum; AdamW takes it as beta1."""
    weight_decay: NonNegativeFloat = 1e-4
    schedule: Literal["constant", "step", "poly"] = "poly"
    decay_every_steps: PositiveInt = 2500
    """step: interval between two decays."""
    decay_factor: Fraction = 0.1
    """step: factor of each decay."""
    poly_power: PositiveFloat = 0.9
    """poly: lr (1 - t/T)^power."""
    clip_norm: NonNegativeFloat = 0.0
    """Largest gradient norm; 0 does not clip."""


@dataclass(frozen=True, kw_only=True)
class StageConfig(Settings):
    """One stage of a run."""

    name: str
    steps: PositiveInt
    schedule: Literal["constant", "step", "poly"] | None = None
    """Learning-rate schedule of the stage; null takes ``optimizer.schedule``."""
    pick: Literal["last", "best_validation"] = "last"
    """Weights that the next stage starts from: the last step's, or the best by the validation cases."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig(Settings):
    """How the loop runs."""

    steps: PositiveInt = 6000
    """Optimizer steps of the whole run, all stages together."""
    stages: tuple[StageConfig, ...] = (StageConfig(name="main", steps=6000),)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: PositiveInt = 1
    """Processes on this machine, one a device."""
    nodes: PositiveInt = 1
    threads: NonNegativeInt = 0
    """CPU threads of the training process; 0 leaves it to torch. The number is recorded."""
    accumulate: PositiveInt = 1
    """Batches whose gradients are averaged before an optimizer step."""
    compile: bool = False
    """torch.compile the networks; pays off on long runs. Dropout draws other numbers then."""
    channels_last: bool = True
    """Memory format of networks and images; faster on CPU and GPU in bf16."""
    save_every: PositiveInt = 250
    """Steps between two checkpoints: what a crash can lose at most."""
    validate_every: PositiveInt = 250
    log_every: PositiveInt = 10
    keep_weights_every: NonNegativeInt = 0
    """Steps between two copies of the deployed weights in ``weights_steps``, to be compared with the last ones; 0 keeps
    none. Takes disk space, and changes nothing else."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a run depends on, besides the store and the machine."""

    method: MethodConfig
    network: NetworkConfig
    data: DataConfig
    optimizer: OptimizerConfig
    engine: EngineConfig
    seed: int = 0
    profile: str = "default"
    format: int = FORMAT

    def __post_init__(self) -> None:
        """Refuse fields that contradict each other."""
        total = sum(stage.steps for stage in self.engine.stages)
        if total != self.engine.steps:
            raise UsageError("C3", "engine.stages", f"stages sum to {total} steps, engine.steps is {self.engine.steps}",
                             "set both, or engine.steps alone: stages without a value follow it")
        if self.engine.keep_weights_every > self.engine.steps:
            raise UsageError("C3", "engine.keep_weights_every", f"found {self.engine.keep_weights_every}, the run has "
                             f"{self.engine.steps} steps", "keep weights more often, or set it to 0")
        self._require_multiples()
        self._require_validation()
        if get_method(self.method.name).uses_unlabeled and not self.data.unlabeled_per_batch:
            raise UsageError("D13", "data.unlabeled_per_batch",
                             f"found 0, {self.method.name} learns from unlabeled patches",
                             "set it to 1 or more, or use --method supervised")

    def _require_validation(self) -> None:
        picked = [stage.name for stage in self.engine.stages if stage.pick == "best_validation"]
        if picked and self.engine.stages[-1].name in picked:
            raise UsageError("C3", "engine.stages", f"stage {picked[-1]!r} is the last one, its last step is deployed",
                             "leave out its pick")
        every = self.engine.validate_every
        short = [stage for stage in self.engine.stages if stage.name in picked and stage.steps < every]
        if short:
            raise UsageError("C3", "engine.validate_every", f"found {every}, stage {short[0].name!r} has "
                             f"{short[0].steps} steps and picks its best weights by validations",
                             "validate more often, or keep the last weights")
        if picked and not self.data.validation:
            raise UsageError("C3", "data.validation", f"found 0, stage {picked[0]!r} picks its best weights by them",
                             "add --validation 1 or more, or keep the last weights")

    def _require_multiples(self) -> None:
        multiple = get_method(self.method.name).samples_multiple
        for name in ("labeled_per_batch", "unlabeled_per_batch"):
            found = getattr(self.data, name)
            if found % multiple:
                raise UsageError("C3", f"data.{name}", f"found {found}, {self.method.name} mixes the patches of a step "
                                 f"in groups of {multiple}", f"set it to a multiple of {multiple}")


SECTIONS = {"network": NetworkConfig, "data": DataConfig, "optimizer": OptimizerConfig, "engine": EngineConfig}
SCALARS = {"seed": int, "profile": str, "format": int}


def config_from_json(raw: dict[str, Any], source: str = "config") -> RunConfig:
    """Build a configuration from complete JSON.

    Raises:
        UsageError: names the full path, the value, and the legal values or the near match.
    """
    require_sections(raw, source)
    method_class = get_method(str(raw.get("method", {}).get("name", "")))
    parts: dict[str, Any] = {name: load_strictly(cls, raw.get(name, {}), name) for name, cls in SECTIONS.items()}
    parts["method"] = load_strictly(method_class.Config, raw["method"], "method")
    parts |= {name: load_strictly(cls, raw[name], name) for name, cls in SCALARS.items() if name in raw}
    if parts.get("format", FORMAT) != FORMAT:
        raise UsageError("C2", "format", f"found {parts['format']}, this version reads {FORMAT}", "update semivox")
    return RunConfig(**parts)


def require_sections(raw: Any, source: str) -> None:
    """Refuse what is not a configuration, whole or in part, by its outermost keys.

    Raises:
        UsageError: not an object, a key that is not a section, or a section that is not an object.
    """
    if not isinstance(raw, dict):
        raise UsageError("C2", source, f"found a JSON {type(raw).__name__}, an object is needed",
                         "pass the config.json of a run, or a part of one")
    sections = ["method", *SECTIONS]
    for key, value in raw.items():
        if key not in {*sections, *SCALARS}:
            raise UsageError("C1", key, f"unknown key in {source}", did_you_mean(key, [*sections, *SCALARS]))
        if key in sections and not isinstance(value, dict):
            raise UsageError("C2", key, f"found {value!r} in {source}, an object is needed",
                             f'write {{"{key}": {{"name of a setting": value}}}}')


def config_to_json(config: RunConfig) -> dict[str, Any]:
    """The JSON form; ``config_from_json`` of it gives an equal configuration."""
    content: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return content


def known_keys(method_name: str) -> list[str]:
    """Every dotted path that ``--set`` reaches for a method."""
    groups = {**SECTIONS, "method": get_method(method_name).Config}
    return [*SCALARS, *(f"{name}.{key.name}" for name, cls in groups.items() for key in fields(cls))]
