"""A network as training left it, read from a file for the studies that measure it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from ctebm.networks.layered import LayeredNetwork
    from ctebm.study.image_settings import ImageSettings
    from ctebm.study.images import Images

__all__ = ["activation_names", "trained_network"]


def trained_network(path: Path | None, images: Images, dtype: torch.dtype) -> LayeredNetwork | None:
    """Return the network in a file, if there is one.

    Parameters
    ----------
    path : Path or None
        A file with weights and biases.
    images : Images
        That its first and last layer have to fit.
    dtype : torch.dtype
        Of the network.

    Returns
    -------
    LayeredNetwork or None
        None without a path.

    Raises
    ------
    ValueError
        If the file holds no network that a study can measure, or if it doesn't fit the images.

    Examples
    --------
    >>> import torch
    >>> from ctebm.study.images import load_images
    >>> from ctebm.study.trained import trained_network
    >>> trained_network(None, load_images(), torch.float64) is None
    True
    """
    if path is None:
        return None
    network = _loaded(path, dtype)
    sizes = [len(b) for b in network.biases]
    if len(sizes) < 3:
        raise ValueError(
            f"{path} goes from {sizes[0]} inputs straight to {sizes[1]} outputs; a study needs a "
            "hidden layer."
        )
    images.check_sizes(sizes, "give the images it was trained on", f"the network in {path}")
    return network


def activation_names(settings: ImageSettings, random: Sequence[str]) -> list[str]:
    """Return the activations to compare: those of random weights, or that of the file alone.

    Examples
    --------
    >>> from ctebm.study.image_settings import ImageSettings
    >>> from ctebm.study.trained import activation_names
    >>> activation_names(ImageSettings(), ["tanh", "logistic"])
    ['tanh', 'logistic']
    """
    if settings.weights is None:
        return list(random)
    return [repr(_loaded(settings.weights).activation)]


def _loaded(path: Path, dtype: torch.dtype | None = None) -> LayeredNetwork:
    import torch

    import ctebm

    try:
        network = ctebm.load_network(path, dtype=dtype or torch.float64)
    except ValueError as error:
        raise ValueError(f"{path} holds no trained network: {error}") from error
    if not isinstance(network, ctebm.LayeredNetwork):
        raise ValueError(
            f"{path} holds feedback weights of their own, but the laws are for symmetric ones; "
            "train without --separate."
        )
    return network
