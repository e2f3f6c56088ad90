"""Which networks there are, and what each can take. Knows names only: no network is imported here."""

from __future__ import annotations

from typing import NamedTuple

from semivox.errors import UsageError, did_you_mean

MONAI_PREFIX = "monai:"
"""``"monai:DynUNet"`` is the class of that name in ``monai.networks.nets``."""

OTHER = "other"
"""``make_network(decoder=OTHER)``: another kind of decoder than the configured one, where the network has one."""


class Entry(NamedTuple):
    """What is known of a network before it is imported."""

    target: str
    """``"module:Class"``."""
    dimensions: int
    """2 or 3."""
    keywords: tuple[str, ...]
    """Settings that its constructor takes beside ``channels`` and ``classes``."""
    decoders: tuple[str, ...] = ()
    """Legal values of ``decoder``; the first is the default."""
    multiple: int = 16
    """Each side of the image is a multiple of this."""
    single_voxel: bool = True
    """Whether it can train when its coarsest map has one voxel (instance normalization cannot)."""


ENTRIES = {
    "vnet": Entry(
        "semivox.networks.vnet:VNet",
        3,
        ("width", "decoder", "dropout", "init", "mid"),
        ("deconv", "trilinear", "nearest"),
    ),
    "unet3d": Entry("semivox.networks.unet3d:UNet3d", 3, ("width", "dropout", "init", "mid"), single_voxel=False),
    "unet2d": Entry(
        "semivox.networks.unet2d:UNet2d", 2, ("width", "decoder", "dropout", "init", "mid"), ("bilinear", "deconv")
    ),
    "resnet34_vnet": Entry(
        "semivox.networks.resnet:ResNetVNet",
        3,
        ("width", "decoder", "dropout", "init", "mid"),
        ("deconv", "trilinear", "nearest"),
    ),
    "resnet34_unet2d": Entry(
        "semivox.networks.resnet:ResNetUNet2d",
        2,
        ("width", "decoder", "dropout", "init", "mid"),
        ("bilinear", "deconv"),
    ),
}

NETWORKS: dict[str, str] = {name: entry.target for name, entry in ENTRIES.items()}
"""Name to ``"module:Class"`` of the networks that come with Semivox."""

MONAI_MULTIPLES = {
    "AttentionUnet": 16,
    "BasicUNet": 16,
    "BasicUNetPlusPlus": 16,
    "DynUNet": 16,
    "FlexibleUNet": 32,
    "HighResNet": 1,
    "MedNeXt": 16,
    "SegResNet": 8,
    "SegResNetDS": 8,
    "SwinUNETR": 32,
    "UNETR": 16,
    "UNet": 16,
}
"""Segmentation networks of ``monai.networks.nets``, and what each side of a patch must be a multiple of."""


def monai_class_name(name: str) -> str | None:
    """``"DynUNet"`` of ``"monai:DynUNet"``; None for a network of our own.

    Raises:
        UsageError: ``"monai:"`` with a class that is not one of MONAI's segmentation networks.
    """
    if not name.startswith(MONAI_PREFIX):
        return None
    wanted = name.removeprefix(MONAI_PREFIX)
    if wanted not in MONAI_MULTIPLES:
        problem = f"'{wanted}' is not one of MONAI's segmentation networks"
        same = next((key for key in MONAI_MULTIPLES if key.lower() == wanted.lower()), wanted)
        raise UsageError("C1", "network.name", problem, did_you_mean(same, MONAI_MULTIPLES))
    return wanted


def find_entry(name: str) -> Entry:
    """The entry of one of our own networks.

    Raises:
        UsageError: unknown name, with the nearest one.
    """
    if name not in ENTRIES:
        known = [*ENTRIES, *(MONAI_PREFIX + key for key in MONAI_MULTIPLES)]
        raise UsageError("C1", "network.name", f"unknown network '{name}'", did_you_mean(name, known))
    return ENTRIES[name]
