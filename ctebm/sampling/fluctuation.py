r"""The response to a small force, read from fluctuations without it (fluctuation-dissipation).

For Euler-Maruyama near a stable equilibrium of an energy, at any :math:`\epsilon`, exactly

.. math:: \Delta(n) = \frac{1}{\sigma^2}\left[C(0) + C(1) - C(n) - C(n+1)\right] u,

the displacement `n` steps after a constant force `u` was switched on, from the covariances
:math:`C(n) = \langle\delta(t+n)\,\delta(t)'\rangle` of the undisturbed noise (N7). With `u` the
force of a nudge, :math:`-\Delta` is the back-propagated gradient times :math:`a_k(n)`, read from
spontaneous activity. The textbook's :math:`2[C(0) - C(n)]u/\sigma^2` holds in continuous time; in
steps it gives 0 where the gradient first arrives.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dynamics.clock import step_size
from ctebm.dynamics.methods import Stream
from ctebm.dynamics.sde import Dynamics
from ctebm.dynamics.seeding import seeding
from ctebm.dynamics.threads import torch_threads
from ctebm.networks.base import StateLike
from ctebm.networks.energy import Network
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite, whole
from ctebm.sampling.moments import BlockMeans
from ctebm.sampling.recorded import recorded_run
from ctebm.sampling.response import FluctuationResponse, response_of
from ctebm.stability.linearization import linearize
from ctebm.stability.record import Linearization

__all__ = ["fluctuation_response", "response_of_covariances"]

# Fluctuations forget their start in some of the slowest time constant.
_BURN_IN = 8.0
_STATES = 4  # of each chain and step of the response, at its peak
# A time is a whole number of steps, but for the rounding of the division.
_ROUNDING = 1e-6


def fluctuation_response(
    network: Network,
    state: StateLike,
    force: ArrayLike | Tensor,
    *,
    eps: float,
    sigma: float,
    chains: int,
    time: float,
    n_steps: int | None = None,
    lag: float | None = None,
    seed: int | None = None,
    stream: Stream = "host",
    threads: int | None = None,
) -> FluctuationResponse:
    r"""Return the response to a small constant force, from fluctuations without it.

    Chains fluctuate about the equilibrium under Euler-Maruyama; no force is applied and no target
    shown. What :math:`\delta_i` has in common with the past of :math:`u'\delta` is the response,

    .. math:: \Delta_i(n) = \frac{1}{\sigma^2}\left\langle \delta_i(t)\,u'[\delta(t) + \delta(t-1)
              - \delta(t-n) - \delta(t-n-1)] \right\rangle .

    Its error falls with the time as :math:`T^{-1/2}` and does not depend on `sigma`.

    Parameters
    ----------
    network : Network
        With an energy; one sample.
    state : array or record, (unit)
        A stable equilibrium with no unit at a kink.
    force : array, (unit)
        The force `u`, such as :math:`y^* - y` on the output and 0 elsewhere.
    eps : float
        Euler's step.
    sigma : float
        Intensity of the noise; small enough that no unit comes near a kink or bends its rate.
    chains : int
        How many chains fluctuate at once.
    time : float
        How long each of them is watched, in membrane time constants.
    n_steps : int, optional
        Steps after the force is switched on; give it or `lag`.
    lag : float, optional
        The same as a time, a multiple of `eps`.
    seed, stream, threads
        As in :func:`~ctebm.simulate`; the noise is drawn freshly, and its seed recorded, if None.

    Returns
    -------
    FluctuationResponse
        With the displacement, its error, and what linear theory predicts for both.

    Raises
    ------
    ValueError
        For a network without an energy, an equilibrium that is not stable or has pinned units,
        whose fluctuations are not linear, or an `eps` that is not stable there.
    RuntimeError
        If the state is no equilibrium.

    References
    ----------
    R. Kubo, Rep. Prog. Phys. 29, 255 (1966), for continuous time.

    Examples
    --------
    >>> import torch, ctebm
    >>> net = ctebm.LayeredNetwork.random([3, 2], ctebm.HardSigmoid(), gain=0.5, seed=0).centred()
    >>> rest = ctebm.settle(net)
    >>> found = ctebm.fluctuation_response(
    ...     net, rest, [0, 0, 0, 1, 0], eps=0.1, n_steps=3, sigma=0.01, chains=64, time=99, seed=0
    ... )
    >>> bool(((found.displacement - found.exact).abs() < 5 * found.error).all())
    True
    """
    if not isinstance(network, Network):
        raise ValueError(
            "expected a network whose force is that of an energy, got "
            f"{type(network).__name__}: without one the "
            "response is not in the fluctuations alone; apply the force, see ctebm.simulate."
        )
    s, u = network.finite_state(state), network.finite_state(force)
    if s.ndim != 1 or u.ndim != 1:
        raise ValueError(
            f"expected one state and one force, got {tuple(s.shape)} and {tuple(u.shape)}; go "
            "through samples one by one."
        )
    eps = finite("eps", eps, above=0.0)
    sigma = finite("sigma", sigma, above=0.0)
    time = finite("time", time, low=eps)
    chains, n = whole("chains", chains, least=1), _steps(n_steps, lag, eps)
    linear = linearize(network, s)
    check_linear(linear, eps, sigma)
    burn_in = whole("steps of the burn-in", -(-_BURN_IN * float(linear.return_time) // eps))
    step = step_size(eps, "euler")
    check_memory(
        f"{chains:,} chains over {n:,} steps", _STATES * chains * n * s.numel() * s.element_size(),
        "take fewer chains, or a response after fewer steps", s.device,
    )  # fmt: skip
    start = s.expand(chains, -1).contiguous()
    source = seeding(start, step, seed, None, None, True, stream)
    products = LaggedProducts(s, u, n, phase=1)
    n_watched = round(time / eps) + n + 1
    with torch_threads(threads, start) as used, torch.no_grad():
        run = recorded_run(
            Dynamics(network, sigma), start, step, n_watched, burn_in, 1, "euler", source, products
        )
        run.go()
    return response_of(
        products.blocks, linear=linear, force=u, eps=eps, sigma=sigma, n_steps=n, time=time,
        seed=source.seed, threads=used,
        furthest=products.furthest,
    )  # fmt: skip


def response_of_covariances(
    covariances: Sequence[Tensor], sigma: float, force: ArrayLike | Tensor
) -> Tensor:
    r"""Return :math:`\frac{1}{\sigma^2}[C(0) + C(1) - C(n) - C(n+1)]\,u` (N7).

    Parameters
    ----------
    covariances : sequence of four Tensor
        At lags 0, 1, `n` and `n` + 1 steps, ``(unit, unit)`` each.
    sigma : float
        Intensity of the noise.
    force : array, (unit)
        The constant force.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.sampling.fluctuation import response_of_covariances
    >>> net = ctebm.DenseNetwork([[0, 0.5], [0.5, 0]], [0, 0], ctebm.HardSigmoid()).centred()
    >>> linear = ctebm.linearize(net, [0.0, 0.0])
    >>> C = linear.covariance(0.1, eps=0.2)
    >>> M = torch.eye(2, dtype=torch.float64) + 0.2 * linear.jacobian
    >>> lagged = [torch.linalg.matrix_power(M, n) @ C for n in (0, 1, 2, 3)]
    >>> response_of_covariances(lagged, 0.1, [1.0, 0.0])
    tensor([0.3600, 0.0200], dtype=torch.float64)
    >>> linear.response([1.0, 0.0], eps=0.2, n_steps=2)
    tensor([0.3600, 0.0200], dtype=torch.float64)
    """
    now, next_one, later, after = covariances
    u = torch.as_tensor(force, dtype=now.dtype, device=now.device)
    return (now + next_one - later - after) @ u / finite("sigma", sigma, above=0.0) ** 2


class LaggedProducts:
    r"""The products :math:`\delta(t)\,u'[\delta(t) + \delta(t-1) - \delta(t-n) - \delta(t-n-1)]`.

    It stands in the place of a recorder of states and keeps block means.

    Parameters
    ----------
    rest : Tensor, (unit)
        The equilibrium.
    force : Tensor, (unit)
        The force `u`.
    n_steps : int
        The lag `n`.
    phase : int
        The phase whose states count.

    Attributes
    ----------
    blocks : BlockMeans
        Of the products, ``(block, chain, unit)``.
    furthest : Tensor
        The largest displacement of each unit, ``(unit,)``.
    """

    def __init__(self, rest: Tensor, force: Tensor, n_steps: int, phase: int) -> None:
        self.steps: list[int] = [-1]
        self.blocks: BlockMeans = BlockMeans()
        self.furthest: Tensor = torch.zeros_like(rest)
        self._rest, self._force, self._n, self._phase = rest, force, n_steps, phase
        self._past = rest.new_empty(0, 0)  # of u' delta, (step, chain)

    def save(self, steps: Sequence[int], states: Tensor, phase: int) -> None:
        """Take the states of steps that follow one another, ``(step, chain, unit)``."""
        if not steps:
            return
        self.steps = [steps[-1]]
        if phase < self._phase:
            return
        delta = states - self._rest
        self.furthest = torch.maximum(self.furthest, delta.abs().amax((0, 1)))
        x = delta @ self._force
        x = torch.cat([self._past, x]) if len(self._past) else x
        first = len(x) - len(delta)
        n, before = self._n, max(self._n + 1 - first, 0)  # states without the past they need
        at = torch.arange(first + before, len(x), device=x.device)
        if len(at):
            w = x[at] + x[at - 1] - x[at - n] - x[at - n - 1]
            self.blocks.add(delta[before:] * w.unsqueeze(-1))
        self._past = x[-(n + 1) :]


def check_linear(linear: Linearization, eps: float, sigma: float) -> None:
    """Refuse an equilibrium whose fluctuations are not those of a linear motion."""
    linear.raise_for_status()
    if bool(linear.pinned.any()):
        unit = int(torch.nonzero(linear.pinned)[0])
        raise ValueError(
            f"unit {unit} is pinned at a kink, where fluctuations are not linear; use weaker "
            "weights, or clamp the layer of the pinned units."
        )
    linear.covariance(sigma, eps)  # refuses what is not stable, in its own words


def _steps(n_steps: int | None, lag: float | None, eps: float) -> int:
    """Return the number of steps that is asked for."""
    if n_steps is None and lag is None:
        raise ValueError("expected n_steps or lag, the time after which the response is wanted.")
    if lag is None:
        return whole("n_steps", n_steps, least=1)
    exact = finite("lag", lag, above=0.0) / eps
    if abs(exact - round(exact)) > _ROUNDING * exact or round(exact) < 1:
        raise ValueError(f"expected a lag that is a multiple of eps = {eps:g}, got {lag:g}.")
    if n_steps is not None and n_steps != round(exact):
        raise ValueError(
            f"expected n_steps or lag, got {n_steps} steps and {lag:g}, which is {round(exact)} "
            "steps; give one."
        )
    return round(exact)
