"""Whatever takes memory by a number of the user's says first that it does not fit, and what to do.

The calls are made in a process that may take little more than it has, where an allocation that was
not foreseen is an error of the allocator and no sentence.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CALLS = {
    "random": "ctebm.LayeredNetwork.random([10**6, 10**6], tanh)",
    "ring": "ctebm.SparseNetwork.ring(10**9, 0.1, tanh)",
    "hessian": "ring.hessian(torch.zeros(10**5))",
    "many hessians": "small.hessian(torch.zeros(10**4, 100))",
    "own jacobian": "Own().jacobian(torch.zeros(10**5))",
    "dense weight": "ctebm.LayeredNetwork.random([1, 10**5, 1], tanh).dense_weight()",
    "steps": "ctebm.simulate(pair, [0, 0], n_steps=10**9, eps=0.1)",
    "chosen steps": "ctebm.simulate(pair, [0, 0], n_steps=10**9, eps=0.1, save_steps=range(10**9))",
    "observed": "ctebm.simulate(pair, [0, 0], n_steps=10**8, eps=0.1, observe={'E': pair.energy})",
    "states": "ctebm.simulate(small, torch.zeros(10**4, 100), n_steps=10**4, eps=0.1)",
    "step sizes": "ctebm.simulate(pair, [0, 0], n_steps=10**4, eps=torch.full((10**5,), 0.1))",
    "graph": "ctebm.simulate(pair, [0, 0], n_steps=10**8, save_every=10**8, eps=0.1, "
             "differentiable=True)",
    "starts": "ctebm.find_fixed_points(pair, n_starts=10**10)",
    "grid": "ctebm.phase_plane(pair, n_grid=10**6)",
    "starts of a plane": "ctebm.phase_plane(pair, n_grid=5, n_starts=10**10)",
    "path": "ctebm.phase_plane(pair, n_grid=5, n_starts=5, starts=[(0, 0)], t_end=1e9)",
    "eigenpairs": "ctebm.linearize(ring, torch.zeros(10**5), dense=True)",
    "many eigenpairs": "ctebm.linearize(small, torch.zeros(10**4, 100))",
    "spectrum": "near.power_spectrum(0.1, torch.ones(10**6))",
    "cascade": "ctebm.cascade_coefficient(2, 10**10, 0.1, 2)",
    "back": "ctebm.bptt_gradient(layers, torch.zeros(5), [0, 0], eps=0.1, n_steps=10**20)",
    "saves": "ctebm.correspondence(layers, None, [0, 0], eps=[0.1], n_steps=10**10, save_all=True)",
    "replicates": "ctebm.correspondence(layers, None, [0, 0], eps=[0.1], sigma=0.1, "
                  "replicates=10**9)",
    "through time": "ctebm.ThroughTime(n_steps=10**20).gradient(plastic, settled, target)",
}  # fmt: skip

SCRIPT = """
import json, resource, sys
import psutil, torch
torch.set_num_threads(1)
import ctebm

class Own(ctebm.VectorField):
    def force(self, s):
        return -s

tanh = ctebm.Tanh()
pair = ctebm.DenseNetwork([[0, 0.5], [0.5, 0]], [0, 0], tanh)
small, ring = (ctebm.SparseNetwork.ring(n, 0.1, tanh) for n in (100, 10**5))
near = ctebm.linearize(small, torch.zeros(100))
layers = ctebm.LayeredNetwork.random([3, 3, 2], tanh).clamp({"x": [0.0] * 3})
plastic, target = ctebm.PlasticNetwork(ctebm.LayeredNetwork.random([3, 2], tanh)), torch.zeros(1, 2)
settled = plastic.settle(torch.zeros(1, 3).double(), tol=1e-6)
ctebm.simulate(pair, [0, 0], n_steps=1, eps=0.1)  # what is loaded when it is first used
limit = psutil.Process().memory_info().vms + 2**29
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
said = {}
for name, call in json.load(sys.stdin).items():
    try:
        eval(call)
        said[name] = "nothing"
    except Exception as error:
        said[name] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said():
    pytest.importorskip("resource", reason="limits of processes are those of POSIX")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], input=json.dumps(CALLS),
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CALLS)
def test_a_request_that_does_not_fit_is_refused_in_one_sentence(said, name):
    sentence = said[name]
    assert sentence.startswith("ValueError: "), sentence
    assert "takes about" in sentence
    assert sentence.count("GiB") == 2
    assert "; " in sentence  # the remedy
