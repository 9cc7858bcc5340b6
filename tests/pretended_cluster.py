"""A cluster of dask within this process, whose workers die where they are told to."""

from __future__ import annotations

from types import SimpleNamespace

from distributed import KilledWorker


class Future:
    """What a call gave, or that its worker was killed."""

    def __init__(self, call, dies):
        self.value = None if dies else call()
        self.dies, self.released = dies, False

    def add_done_callback(self, told):
        self.told = told

    def done(self):
        return True

    def result(self):
        if self.dies:
            raise KilledWorker("tile", None, 0)
        return self.value

    def release(self):
        self.released = True


class PretendedCluster:
    """Runs what is submitted at once; futures end when `look_after` is called next.

    Attributes
    ----------
    submitted : list
        Arguments of every call.
    most : int
        How many ran at a time.
    """

    address = "tcp://here"

    def __init__(self, n_workers, asked=None, dies=lambda args: False):
        self.n_workers, self.asked, self.dies = n_workers, asked, dies
        self.submitted, self.futures, self.most, self.cancelled = [], [], 0, None
        self.running = []
        self.client = SimpleNamespace(submit=self.submit, cancel=self.cancel)

    def submit(self, call, *args, pure):
        assert not pure
        self.submitted.append((call.__name__, *args[1:]))
        future = Future(lambda: call(*args), self.dies(args))
        self.futures.append(future)
        self.running.append(future)
        self.most = max(self.most, len(self.running))
        return future

    def cancel(self, futures):
        self.cancelled = futures

    def wait(self, future):
        self.running.remove(future)

    def look_after(self):
        for future in self.running:
            future.told(future)
        self.running = []
