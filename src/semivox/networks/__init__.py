"""Backbones. They know nothing of semi-supervision, and each returns an :class:`~semivox.networks.output.Output`.

Importing this package is cheap: PyTorch and MONAI are imported when a network is built.
"""

from __future__ import annotations

from semivox.networks.factory import NetworkFactory, network_factory
from semivox.networks.patches import check_patch_size, required_multiple
from semivox.networks.table import NETWORKS, OTHER

__all__ = ["NETWORKS", "OTHER", "NetworkFactory", "check_patch_size", "network_factory", "required_multiple"]
