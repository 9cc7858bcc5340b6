"""What a training came to: the network, its history, and how it predicts."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dataset import variable
from ctebm.learning.plan import Plan
from ctebm.learning.plastic_field import plastic
from ctebm.learning.plastic_layers import PlasticNetwork
from ctebm.learning.probe import REFERENCES
from ctebm.learning.samples import input_states
from ctebm.learning.trainer import predict
from ctebm.networks.base import VectorField
from ctebm.networks.parameters import network_dataset
from ctebm.networks.record import Record, with_origin

__all__ = ["Training"]


@dataclass(frozen=True, eq=False, repr=False)
class Training(Record):
    """What a training came to.

    Attributes
    ----------
    network : VectorField
        What was trained; of layers coupled as in eq. 6 a FeedbackNetwork if its two directions
        learned separately; of a run that failed, that after its last good epoch.
    history : dict of str to ndarray
        One row an epoch; see :meth:`to_dataset`.
    status : str
        ``"done"``, ``"stopped early"``, ``"diverged"``, ``"collapsed"`` or ``"out of samples"``.
    message : str
        A sentence if the training failed, else ``""``.
    plan : Plan
        How it was trained.
    start : VectorField
        What it was before the first epoch.
    data : str
        A digest of the training samples, by which they are recognised; of a DataLoader its class.
    labelled : bool
        Whether it learned labels; else targets.

    Examples
    --------
    >>> import ctebm, numpy as np
    >>> net = ctebm.LayeredNetwork.random([2, 6, 2], ctebm.HardSigmoid(), gain=0.5)
    >>> rates, labels = np.array([[0.2, 0.8], [0.8, 0.2]] * 50), np.array([0, 1] * 50)
    >>> found = ctebm.train(net, rates, labels, ctebm.Plan(epochs=3, batch=10, rate=0.01))
    >>> found.status, found.predict([[0.3, 0.6], [0.7, 0.1]]).tolist()
    ('done', [0, 1])
    >>> dict(found.to_dataset().alignment.sizes)
    {'epoch': 3, 'reference': 4, 'connection': 2}
    """

    network: Any
    history: dict[str, np.ndarray]
    status: str
    message: str
    plan: Plan
    start: VectorField
    data: str
    labelled: bool = True

    _error = FloatingPointError
    _shown = ()

    def predict(self, rates: ArrayLike | Tensor) -> Tensor:
        """Return the class of each sample, the output unit with the largest state, or the output.

        Parameters
        ----------
        rates : array, (sample, input unit)
            Firing rates of the input, as :func:`ctebm.train` takes them. They are made states here;
            :meth:`~ctebm.LayeredNetwork.clamp` takes states, ``network.state(rates)``.

        Returns
        -------
        Tensor
            Of int, ``(sample,)``; the output states ``(sample, output unit)`` of a network that
            learned targets in place of labels.

        Raises
        ------
        ValueError
            For another number of input units, no samples, or rates out of the activation's range.
        """
        found = plastic(self.network, tied=self.plan.tied, cost=self.plan.cost,
                        parameters=self.plan.parameters)  # fmt: skip
        y = predict(found, input_states(self.network, rates), self.plan)
        return y.argmax(-1) if self.labelled else y

    def _failures(self) -> list[str]:
        return [self.message] if self.message else []

    def _outcome(self) -> str:
        errors = [
            f"{words} {self.history[name][-1]:.2f} %"
            for name, words in (("train_error", "training error"), ("test_error", "held-out error"))
            if name in self.history and np.isfinite(self.history[name][-1])
        ]
        n = len(self.history.get("sweeps", ()))
        return ", ".join([f"{self.status} after {n} epochs of {self.plan.rule!r}", *errors])

    def to_dataset(self) -> xr.Dataset:
        """Return history and weights; :func:`ctebm.load_network` reads the latter.

        The weights before the first epoch are ``start_weight_0 ..``; the samples, which may be
        large, are told by ``data_digest`` alone.
        """
        names = list(self.network.layers)
        dims = {"pinned": ("epoch", "hidden"), "dead": ("epoch", "hidden"),
                "alignment": ("epoch", "reference", "connection"),
                "rate": ("epoch", "connection"), "symmetry": ("epoch", "connection")}  # fmt: skip
        data = {
            name: variable(dims.get(name, ("epoch",)), rows, *_MEANING[name])
            for name, rows in self.history.items()
        }
        n_epochs = len(self.history.get("sweeps", []))
        coords = {
            "epoch": variable("epoch", np.arange(n_epochs), "epochs done"),
            "hidden": variable("hidden", names[1:-1], "hidden layer"),
            "connection": variable("connection", *self._connections()),
            "reference": variable("reference", list(REFERENCES), "reference gradient"),
        }  # fmt: skip
        data["status"] = variable((), self.status, "how the training ended")
        data["message"] = variable((), self.message, "why the training failed")
        attrs = {"plan": json.dumps(self.plan.identity(), default=str), "data_digest": self.data}
        dataset = xr.Dataset(data, coords, attrs)
        start = network_dataset(self.start)
        dataset = dataset.assign({f"start_{name}": x for name, x in start.data_vars.items()})
        return with_origin(dataset, self.network, "training", self.plan.settings())

    def _connections(self) -> tuple[list[str], str]:
        """Return what rows of alignment and learning rates belong to, and what that is."""
        found = plastic(self.network, tied=self.plan.tied, cost=self.plan.cost,
                        parameters=self.plan.parameters)  # fmt: skip
        if isinstance(found, PlasticNetwork):
            pairs = itertools.pairwise(self.network.layers)
            return [f"{a}-{b}" for a, b in pairs], "pair of neighbouring layers"
        return list(found.groups), "parameter"

    def plot(self, ax: Any = None) -> Any:
        """Draw errors, angles to reference gradients and pinned units against epochs.

        Parameters
        ----------
        ax : array of matplotlib.axes.Axes, optional
            Three of them; a new figure of pyplot by default, which a notebook or
            ``plt.show()`` shows, and which is pyplot's until it is closed.

        Returns
        -------
        ndarray of matplotlib.axes.Axes, (3,)
        """
        from ctebm.figures.learning import learning_figure

        figure = learning_figure(self.to_dataset(), ax=ax, window=ax is None)
        return np.array(figure.axes, dtype=object) if ax is None else ax


_UNCOUNTED = "NaN of a rule that settles none, and of an epoch that an earlier version trained"
_MEANING = {
    "train_error": ("errors on the training samples as they came", "%"),
    "test_error": ("errors on the held-out samples", "%"),
    "test_cost": ("mean cost of the held-out samples", "1"),
    "cost": ("mean cost of the training samples as they came, |y - y*|^2 / 2 if not said", "1"),
    "residual": ("largest residual of an equilibrium", "1"),
    "unsettled": ("share of batches with a residual above the tolerance", "1"),
    "nudged_residual": (f"largest residual of a nudged rest; {_UNCOUNTED}", "1"),
    "nudged_unsettled": (
        f"share of batches with a nudged rest above the rule's tolerance; {_UNCOUNTED}",
        "1",
    ),
    "sweeps": ("mean updates of every layer to settle a sample", "1"),
    "pinned": ("share of units held at a kink", "1"),
    "dead": ("share of units held at a kink in every sample", "1"),
    "crossed": ("share of samples in which a unit meets or leaves a kink early on", "1"),
    "alignment": ("cosine of the rule's gradient with a reference", "1"),
    "symmetry": ("cosine of the weights of the two directions; NaN from the input", "1"),
    "rate": ("learning rate", "1"),
    "seconds": ("time for the epoch", "s"),
}
