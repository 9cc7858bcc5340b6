"""The problem that studies share: a layered network on images, with targets inside the kinks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm.study.activations import parse_activation
from ctebm.study.image_settings import ImageSettings
from ctebm.study.trained import trained_network

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike
    from torch import Tensor

    from ctebm.networks.activation import Activation
    from ctebm.networks.layered import LayeredNetwork
    from ctebm.study.images import Images

__all__ = ["Problem", "images_problem", "problem_of", "reachable", "study_images"]

TARGET_RATES = (0.1, 0.9)  # of a one-hot target, inside the kinks
OPEN_RATES = (0.01, 0.99)  # of pixels, where the activation reaches 0 and 1 nowhere


@dataclass(frozen=True, eq=False)
class Problem:
    """A network, input states, target states and what they came from.

    Attributes
    ----------
    network : LayeredNetwork
        With nothing clamped.
    x, target : Tensor
        States of the input, ``(sample, pixel)``, and of the output, ``(sample, class)``.
    images : Images
        Where they came from.
    note : str
        How the pixels became rates.

    Examples
    --------
    >>> from ctebm.study.image_settings import ImageSettings
    >>> from ctebm.study.problem import images_problem
    >>> problem = images_problem(ImageSettings(n_samples=3), [16, 12], "tanh", 1.0)
    >>> problem.data, problem.hidden
    ('digits', [16, 12])
    """

    network: LayeredNetwork
    x: Tensor
    target: Tensor
    images: Images
    note: str

    @property
    def data(self) -> str:
        """Name of the images."""
        return self.images.name

    @property
    def hidden(self) -> list[int]:
        """Units of the hidden layers, input side first."""
        return [len(b) for b in self.network.biases[1:-1]]

    def shifted(self, shift: Callable[[int], ArrayLike | Tensor]) -> Problem:
        """Return the problem with shifted biases.

        Centred biases leave units in the middle of a sigmoid, where it has no curvature.

        Parameters
        ----------
        shift : callable
            Returns what is added to the biases of a layer of so many units.
        """
        import torch

        from ctebm.networks.layered import LayeredNetwork

        net = self.network
        weights = [W for W in net.weights if W is not None]
        biases = [b + torch.as_tensor(shift(len(b))).to(b) for b in net.biases]
        return dataclasses.replace(self, network=LayeredNetwork(weights, biases, net.activation))


def images_problem(
    settings: ImageSettings,
    hidden: Sequence[int],
    activation: str,
    gain: float,
    seed: int | None = None,
) -> Problem:
    """Return hidden layers of these sizes between the pixels and classes of the data.

    With ``--weights`` the network is that of the file; no other argument is used.

    Parameters
    ----------
    settings : ImageSettings
        Which images, or which network.
    hidden : sequence of int
        Units of the hidden layers, input side first.
    activation : str
        As :func:`~ctebm.study.parse_activation` takes it.
    gain : float
        Of the Glorot weights; biases are centred on the mean input.
    seed : int, optional
        Of the weights; that of the settings if None.

    Examples
    --------
    >>> from ctebm.study.image_settings import ImageSettings
    >>> from ctebm.study.problem import images_problem
    >>> problem = images_problem(ImageSettings(n_samples=3), [16], "hard-sigmoid", 0.25)
    >>> problem.network
    LayeredNetwork(x: 64, h1: 16, y: 10; HardSigmoid(lower=-0.5))
    >>> problem.x.shape, problem.target.shape
    (torch.Size([3, 64]), torch.Size([3, 10]))
    """
    images = study_images(settings)
    sizes = (images.input.shape[1], *hidden, images.n_classes)
    return problem_of(settings, images, sizes, activation, gain, seed)


def problem_of(
    settings: ImageSettings,
    images: Images,
    sizes: Sequence[int],
    activation: str,
    gain: float,
    seed: int | None = None,
) -> Problem:
    """Return a network of these sizes, or that of ``--weights``, with images and their targets.

    Parameters
    ----------
    settings : ImageSettings
        Of the study.
    images : Images
        To settle on.
    sizes : sequence of int
        Units of each layer, input first.
    activation, gain, seed
        As in :func:`images_problem`.

    Raises
    ------
    ValueError
        If the layers don't fit the images.

    Examples
    --------
    >>> from ctebm.study.image_settings import ImageSettings
    >>> from ctebm.study.problem import problem_of, study_images
    >>> settings = ImageSettings(n_samples=3)
    >>> problem_of(settings, study_images(settings), (64, 16, 10), "tanh", 1.0).hidden
    [16]
    """
    import numpy as np
    import torch

    import ctebm

    dtype = getattr(torch, settings.dtype)
    network = trained_network(settings.weights, images, dtype)
    if network is None:
        images.check_sizes(sizes, f"give --sizes {images.input.shape[1]} ... {images.n_classes}")
        rho = parse_activation(activation)
        rates, note = reachable(images.input, rho)
        seed = settings.seed if seed is None else seed
        network = ctebm.LayeredNetwork.random(sizes, rho, gain=gain, seed=seed, dtype=dtype)
        network = network.centred({"x": rates.mean(0)})
    else:
        rho = network.activation
        rates, note = reachable(images.input, rho)
    hot = np.eye(images.n_classes)[images.label]
    target = rho.inverse(torch.as_tensor(np.where(hot, *reversed(TARGET_RATES))))
    x = rho.inverse(torch.as_tensor(rates))
    device = settings.device
    return Problem(network.to(device=device), x.to(device), target.to(device), images, note)


def study_images(settings: ImageSettings) -> Images:
    """Return the images that the settings name.

    Examples
    --------
    >>> from ctebm.study.image_settings import ImageSettings
    >>> from ctebm.study.problem import study_images
    >>> study_images(ImageSettings(n_samples=3)).name
    'digits'
    """
    from ctebm.study.images import load_images

    return load_images(settings.data, settings.labels, settings.n_samples)


def reachable(pixels: np.ndarray, activation: Activation) -> tuple[np.ndarray, str]:
    """Return pixels as rates that the activation reaches, and a note on it.

    Examples
    --------
    >>> import numpy as np
    >>> import ctebm
    >>> from ctebm.study.problem import reachable
    >>> reachable(np.array([0.0, 1.0]), ctebm.Tanh())
    (array([0.01, 0.99]), 'rates span [0.01, 0.99], the activation is open')
    """
    if activation.kinks:
        return pixels, "rates are the pixels"
    low, high = OPEN_RATES
    return low + (high - low) * pixels, f"rates span [{low:g}, {high:g}], the activation is open"
