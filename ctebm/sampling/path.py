r"""The path of least energy between two valleys, and the saddles that noise takes it over.

A string of states between two minima slides down the force and is spread evenly along its length
again after each step (E, Ren & Vanden-Eijnden 2007). Its tops are made saddles by Newton's method.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import layer_of_unit, variable
from ctebm.dynamics.threads import small_on_one_thread
from ctebm.equilibria.kkt import check_tolerance
from ctebm.equilibria.newton import newton_from
from ctebm.equilibria.record import FixedPoints, points_at
from ctebm.equilibria.settling import settle
from ctebm.networks.base import StateLike
from ctebm.networks.energy import Network
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite, whole
from ctebm.networks.record import Record, with_origin
from ctebm.sampling.rates import mean_passage_time
from ctebm.sampling.string import AT_REST, length_along, slid

__all__ = ["EnergyPath", "minimum_energy_path"]

_NEAR = 4.0  # images; a top that Newton's method moves further is another point
_STRINGS = 8  # of states at a time, at the peak of a step
_SAME = 1e-6  # of the state; ends nearer than this are one equilibrium


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class EnergyPath(Record):
    r"""A path of least energy between two minima, from :func:`~ctebm.minimum_energy_path`.

    Attributes
    ----------
    state : Tensor
        States along the path, ``(image, unit)``, the minima and saddles on it among them.
    energy : Tensor
        Their energies, ``(image,)``.
    length : Tensor
        Length of the path up to each, ``(image,)``.
    wells, saddles : FixedPoints
        The minima in order, from first to last, and the saddles between neighbours.
    barrier : float
        Energy of the highest saddle above the first minimum.
    status : Tensor
        0 if the path has come to rest and every top is a saddle of index 1; 1 if it still moves;
        2 if a top is another kind of point, such as a part of a continuum; ``()``, int8.
    message : list of str
        One sentence, ``""`` where nothing is wrong.
    iterations : int
        Steps of the string.
    tol : float
        Bound on the force at minima and saddles.
    max_iterations, seed : int
        As they were asked for.
    network : Network
        Whose energy it is.

    Examples
    --------
    >>> import ctebm
    >>> pair = ctebm.DenseNetwork([[0, 8], [8, 0]], [-4, -4], ctebm.Tanh())
    >>> path = ctebm.minimum_energy_path(pair, [-0.7, -0.7], [0.7, 0.7])
    >>> round(path.barrier, 9), round(path.rate(sigma=0.35) * 1e3, 2)
    (0.24437735, 3.1...)
    """

    state: Tensor
    energy: Tensor
    length: Tensor
    wells: FixedPoints
    saddles: FixedPoints
    barrier: float
    status: Tensor
    message: list[str]
    iterations: int
    tol: float
    max_iterations: int
    seed: int
    network: Network

    def rate(self, sigma: float) -> float:
        r"""Return how often noise carries the network from the first well to the last.

        One over the mean time of :mod:`ctebm.sampling.rates`: the law of Eyring and Kramers, with
        pinned units by their kinks (N8). It holds for :math:`D = \sigma^2/2` far below the
        barrier, with an error of order `D`; other paths between the same wells add to it.

        Parameters
        ----------
        sigma : float
            Intensity of the noise.

        Returns
        -------
        float
            In exits per membrane time constant; NaN where there is no law, see `status`.
        """
        sigma = finite("sigma", sigma, above=0.0)
        if int(self.status):
            return float("nan")
        return 1 / mean_passage_time(self.network, self.wells.state, self.saddles.state, sigma)

    def _failures(self) -> list[str]:
        return self.message if int(self.status) else []

    def _outcome(self) -> str:
        counts = f"{len(self.wells)} minima, {len(self.saddles)} between them"
        return f"{counts}; barrier {self.barrier:.6g}, length {float(self.length[-1]):.6g}"

    def to_dataset(self) -> xr.Dataset:
        """Return a dataset with dimensions ``image``, ``unit``, ``well`` and ``saddle``.

        With the network, see :func:`~ctebm.networks.parameters.network_dataset`.
        """
        data = {
            "state": variable(("image", "unit"), self.state, "state"),
            "energy": variable("image", self.energy, "energy"),
            "minimum": variable(("well", "unit"), self.wells.state, "minimum"),
            "well_energy": variable("well", self.wells.energy, "energy of a minimum"),
            "saddle_state": variable(("saddle", "unit"), self.saddles.state, "saddle"),
            "saddle_energy": variable("saddle", self.saddles.energy, "energy of a saddle"),
            "barrier": variable((), self.barrier, "highest saddle above the first minimum"),
            "iterations": variable((), self.iterations, "steps of the string"),
            "status": variable((), self.status, "0 at rest, 1 still moving, 2 a top is no saddle"),
            "message": variable((), self.message[0], "what is wrong"),
        }
        length = {"length": variable("image", self.length, "length of the path")}
        dataset = xr.Dataset(data, length)
        dataset = dataset.assign_coords(layer_of_unit(self.network.layers, self.state.shape[-1]))
        asked = {"tol": self.tol, "max_iterations": self.max_iterations, "seed": str(self.seed)}
        return with_origin(dataset, self.network, "path of least energy", asked)

    def plot(self, ax: Any = None) -> Any:
        """Return the axes of the energy along the path, in `ax` or a figure of pyplot.

        See :func:`ctebm.figures.path_figure`.
        """
        from ctebm.figures.sampling import path_figure

        figure = path_figure(self.to_dataset(), ax=ax, window=ax is None)
        return figure.axes[0] if ax is None else ax


@small_on_one_thread(matrices=True)
def minimum_energy_path(
    network: Network,
    a: StateLike,
    b: StateLike,
    *,
    n_images: int = 41,
    max_iterations: int = 5000,
    tol: float | None = None,
    seed: int = 0,
) -> EnergyPath:
    r"""Return the path of least energy between two minima, and the saddles on it.

    Along the path the force has no part across it. Noise of small intensity goes from one valley
    to the other along it, over its highest saddle at a rate that :meth:`EnergyPath.rate` gives.

    Parameters
    ----------
    network : Network
        With an energy; one sample.
    a, b : array or record, (unit)
        States in the valleys; the path goes between the minima where they settle.
    n_images : int
        States along the path.
    max_iterations : int
        Bound on the steps of the string.
    tol : float, optional
        Bound on the force at minima and saddles.
    seed : int
        Of the small displacement that keeps a straight string off a ridge.

    Returns
    -------
    EnergyPath
        Of several paths the one that the straight line slides to; another way round is found from
        a minimum in between.

    Raises
    ------
    ValueError
        For a network without an energy, or states that settle at one minimum.
    RuntimeError
        If a state does not settle.

    References
    ----------
    W. E, W. Ren and E. Vanden-Eijnden, J. Chem. Phys. 126, 164103 (2007).

    Examples
    --------
    >>> import ctebm
    >>> pair = ctebm.DenseNetwork([[0, 2], [2, 0]], [-1, -1], ctebm.HardSigmoid())
    >>> path = ctebm.minimum_energy_path(pair, [-0.5, -0.5], [0.5, 0.5])
    >>> path.saddles.state.round(decimals=9) + 0, path.barrier  # the wells are pinned at kinks
    (tensor([[0., 0.]], dtype=torch.float64), 0.25)
    """
    if not isinstance(network, Network):
        raise ValueError(
            "expected a network whose force is that of an energy, got "
            f"{type(network).__name__}, without paths of least energy; see ctebm.first_passage."
        )
    n_images, seed = whole("n_images", n_images, least=5), whole("seed", seed, least=0)
    max_iterations = whole("max_iterations", max_iterations, least=1)
    tol = check_tolerance(tol, network.dtype)
    ends = [_end(network, s, tol) for s in (a, b)]
    check_memory("this path", _STRINGS * n_images * ends[0].nbytes, "take fewer n_images")
    distance = float((ends[1] - ends[0]).abs().max())
    if distance <= _SAME:
        raise ValueError(
            "expected states in two valleys, got two that settle at one minimum, "
            f"energy {float(network.energy(ends[0])):.6g}; see find_fixed_points for others."
        )
    with torch.no_grad():
        string, moved, steps = slid(network, ends[0], ends[1], n_images, max_iterations, seed)
        wells, saddles, why = _landmarks(network, string, tol)
        state = _with_landmarks(string, wells, saddles)
        energy = network.energy(state)
        highest = float(saddles.energy.max()) if len(saddles) else float(energy.max())
    status = 2 if why else int(moved > AT_REST)
    if status == 1:
        why = (
            f"the path still moves by {moved:.2g} a time constant after {steps} steps; take more "
            "max_iterations."
        )
    return EnergyPath(
        state=state, energy=energy, length=length_along(state), wells=wells, saddles=saddles,
        barrier=highest - float(wells.energy[0]), status=torch.tensor(status, dtype=torch.int8),
        message=[why], iterations=steps, tol=tol, max_iterations=max_iterations, seed=seed,
        network=network,
    )  # fmt: skip


def _end(network: Network, s: StateLike, tol: float) -> Tensor:
    """Return the minimum at which a state settles."""
    rest = settle(network, network.finite_state(s), tol=tol).raise_for_status()
    if rest.state.ndim != 1:
        raise ValueError(
            f"expected one state at each end, got {tuple(rest.state.shape)}; go sample by sample."
        )
    if rest.stability[0] == "saddle":
        raise ValueError(
            "expected a state in a valley, got one that settles at a saddle; move it off the ridge."
        )
    return rest.state


def _landmarks(
    network: Network, string: Tensor, tol: float
) -> tuple[FixedPoints, FixedPoints, str]:
    """Return the minima and saddles of a string in order, and what is wrong with them."""
    energy, spacing = network.energy(string).cpu(), float(length_along(string)[1])
    inner = torch.arange(1, len(string) - 1)
    low = inner[(energy[inner] < energy[inner - 1]) & (energy[inner] < energy[inner + 1])]
    bottoms = [string[0], *(settle(network, string[i], tol=tol).state for i in low), string[-1]]
    wells = points_at(network, torch.stack(bottoms), tol, torch.zeros(len(bottoms)))
    bounds = [0, *low.tolist(), len(string) - 1]
    tops = [
        low_end + int(energy[low_end : high_end + 1].argmax())
        for low_end, high_end in pairwise(bounds)
    ]
    guesses = string[tops]
    polished = newton_from(network, guesses, tol)
    saddles = points_at(network, polished, tol, torch.zeros(len(tops)))
    away = (polished - guesses).norm(dim=-1) / spacing
    for i, kind in enumerate(saddles.stability):
        index = int(saddles.index.reshape(-1)[i])
        if not bool(saddles.converged[i]) or float(away[i]) > _NEAR:
            return wells, saddles, (
                f"no saddle was found near the top of the path at image {tops[i]}; take more "
                "n_images."
            )  # fmt: skip
        if kind != "saddle" or index != 1:
            return wells, saddles, (
                f"the top of the path at image {tops[i]} is a {kind} point with {index} unstable "
                "directions, not a saddle with one: a continuum, or a ridge between two saddles; "
                "give another seed or a minimum in between."
            )  # fmt: skip
    return wells, saddles, ""


def _with_landmarks(string: Tensor, wells: FixedPoints, saddles: FixedPoints) -> Tensor:
    """Return the string with the images nearest to its minima and saddles put on them."""
    string = string.clone()
    for s in (*wells.state[1:-1], *saddles.state[saddles.converged]):
        nearest = int((string[1:-1] - s).norm(dim=-1).argmin()) + 1
        string[nearest] = s
    return string
