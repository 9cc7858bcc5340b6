import dataclasses
import subprocess
import sys

from ctebm.files.process import Process, this_process


def test_a_process_is_read_back_from_its_tag():
    mine = this_process()
    assert Process.parse(mine.tag()) == mine
    assert Process.parse("1-2-a.b-c") == Process(1, 2, "a.b-c")
    assert Process.parse("somebody") is None


def test_a_process_is_gone_when_it_has_ended_and_its_number_is_anothers():
    mine = this_process()
    assert not mine.is_gone()
    assert dataclasses.replace(mine, begun=mine.begun - 100).is_gone()
    child = subprocess.Popen([sys.executable, "-c", ""])
    ended = dataclasses.replace(mine, pid=child.pid)
    child.wait()
    assert ended.is_gone()


def test_of_other_machines_nothing_is_known():
    elsewhere = Process(2**22 + 1, 0, "elsewhere")
    assert not elsewhere.is_here()
    assert not elsewhere.is_gone()
