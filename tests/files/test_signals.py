"""Signals end what is under way, then the process, and never the tidying up between."""

from __future__ import annotations

import contextlib
import signal
import threading

import pytest

from ctebm.files.signals import Stopped, interrupts, stopping_tidily, undisturbed

raise_signal = signal.raise_signal


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch):
    """Signals that would have ended this process."""
    ended: list[int] = []
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    monkeypatch.setattr(signal, "raise_signal", ended.append)
    yield ended
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGTERM, before)


def test_a_signal_leaves_the_block_and_ends_the_process(ends):
    with pytest.raises(Stopped), stopping_tidily():
        raise_signal(signal.SIGTERM)
        pytest.fail("the block went on")
    assert ends == [signal.SIGTERM]


def test_a_second_signal_does_not_interrupt_the_tidying_up(ends):
    tidied = []
    with pytest.raises(Stopped), stopping_tidily():
        try:
            raise_signal(signal.SIGTERM)
        finally:
            raise_signal(signal.SIGTERM)
            tidied.append(True)
    assert tidied == [True] and ends == [signal.SIGTERM]


def test_a_signal_waits_while_something_is_tidied_up(ends):
    seen = []
    with pytest.raises(Stopped), stopping_tidily():
        with stopping_tidily(), undisturbed():
            with undisturbed():
                raise_signal(signal.SIGTERM)
            seen.append("tidied up")
        seen.append("went on")
    assert seen == ["tidied up"] and ends == [signal.SIGTERM]


def test_a_signal_that_was_swallowed_is_raised_again(ends):
    with pytest.raises(Stopped), stopping_tidily(), interrupts() as check:
        check()
        with contextlib.suppress(BaseException):
            raise_signal(signal.SIGTERM)
        check()
    assert ends == [signal.SIGTERM]


def test_ctrl_c_that_was_swallowed_is_raised_again_and_its_handler_given_back():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), interrupts() as check:
            check()
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
            with contextlib.suppress(KeyboardInterrupt):
                raise_signal(signal.SIGINT)
            check()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        mine = signal.signal(signal.SIGINT, signal.SIG_IGN) and signal.getsignal(signal.SIGINT)
        with interrupts() as check:
            raise_signal(signal.SIGINT)
            check()
            assert signal.getsignal(signal.SIGINT) is mine
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_is_no_exit_that_a_point_may_fail_with():
    assert not issubclass(Stopped, Exception | SystemExit)


def test_without_a_signal_nothing_happens(ends):
    with stopping_tidily(), undisturbed():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert ends == []


def test_handlers_of_the_program_and_other_threads_are_left_alone():
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        own = signal.getsignal(signal.SIGTERM)
        with stopping_tidily():
            assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
    ended = []

    def inside() -> None:
        with stopping_tidily(), undisturbed():
            ended.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert ended == [before]
