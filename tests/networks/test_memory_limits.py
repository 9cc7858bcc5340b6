"""Free memory and the refusal of what does not fit it."""

import subprocess
import sys

import psutil
import pytest
import torch

from ctebm.networks.memory_limits import cgroup_memory, check_matrices, check_memory, free_memory


def test_what_fits_passes_and_what_does_not_is_refused_with_both_numbers():
    free = free_memory()
    assert 2**20 < free <= psutil.virtual_memory().total
    check_memory("a number", 8, "use less")
    with pytest.raises(ValueError, match=r"a matrix takes about 1.05e\+06 GiB, of which .* GiB"):
        check_memory("a matrix", 2**50, "use products")
    with pytest.raises(ValueError, match="are free; use products"):
        check_memory("a matrix of absurd size", 10**400, "use products")


def test_matrices_are_counted_in_units_and_samples():
    check_matrices(torch.zeros(1).expand(1000, 3))
    with pytest.raises(ValueError, match=r"a matrix of 1,000,000 units takes about .*e\+04 GiB"):
        check_matrices(torch.zeros(1, dtype=torch.float64).expand(10**6))
    with pytest.raises(ValueError, match="20,000,000 matrices of 1,000 units"):
        check_matrices(torch.zeros(1).expand(4, 5 * 10**6, 1000))


def _group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_the_tightest_group_above_a_process_counts(tmp_path):
    own = "0::/slurm/job/step"
    assert cgroup_memory(tmp_path, own) is None
    _group(tmp_path / "slurm", memory__max=1000, memory__current=100)
    _group(tmp_path / "slurm/job", memory__max=500, memory__current=90)
    _group(tmp_path / "slurm/job/step", memory__max="max", memory__current=80)
    assert cgroup_memory(tmp_path, own) == 410
    _group(tmp_path / "slurm", memory__max=1000, memory__current=700)
    assert cgroup_memory(tmp_path, own) == 300
    _group(tmp_path / "other", memory__max=1, memory__current=0)
    assert cgroup_memory(tmp_path, own) == 300


def test_a_cache_of_files_is_given_back(tmp_path):
    stat = "anon 50\ninactive_file 300\nactive_file 20"
    _group(tmp_path / "a", memory__max=500, memory__current=450, memory__stat=stat)
    assert cgroup_memory(tmp_path, "0::/a") == 350


def test_groups_of_the_first_version_have_a_tree_of_their_own(tmp_path):
    own = "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n1:name=systemd:/x\n0::/"
    stat = "inactive_file 7\ntotal_inactive_file 40"
    files = {"memory__limit_in_bytes": 1000, "memory__usage_in_bytes": 800, "memory__stat": stat}
    _group(tmp_path / "memory", **files)  # a container sees its own group as the top
    assert cgroup_memory(tmp_path, own) == 240
    _group(tmp_path / "memory/docker/1", **files | {"memory__usage_in_bytes": 900})
    assert cgroup_memory(tmp_path, own) == 140
    assert cgroup_memory(tmp_path, "5:cpu:/docker/1") is None


def test_a_group_that_is_over_its_limit_leaves_nothing(monkeypatch):
    monkeypatch.setattr("ctebm.networks.memory_limits.cgroup_memory", lambda: -5)
    assert free_memory() == 0


def test_the_limit_of_a_process_counts():
    pytest.importorskip("resource", reason="limits of processes are those of POSIX")
    script = """
import psutil, resource
from ctebm.networks.memory_limits import free_memory
limit = psutil.Process().memory_info().vms + 2**28
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(free_memory())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert 0.9 * 2**28 < int(done.stdout) <= 2**28
