import os
import signal
import threading

from triskele.loop.repetition import PipeStop, repeated


class Steps:
    """Fails every other time, takes a while, and ends after some."""

    def __init__(self, stop: threading.Event, n: int) -> None:
        self.stop, self.left, self.now = stop, n, 0.0

    def __call__(self) -> None:
        self.now += 1.0
        self.left -= 1
        if not self.left:
            self.stop.set()
        if self.left % 2:
            raise RuntimeError(f"{self.left} left")


class Waits(threading.Event):
    """Remembers how long it was waited for, and waits no time."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout)
        return self.is_set()


def test_an_error_of_one_turn_does_not_end_the_loop() -> None:
    stop, heard = Waits(), list[str]()
    steps = Steps(stop, 4)
    n_failed = repeated(
        steps, every=10.0, stop=stop, clock=lambda: steps.now,
        on_error=lambda error: heard.append(str(error)),
    )  # fmt: skip
    assert n_failed == 2
    assert heard == ["3 left", "1 left"]
    assert stop.seconds == [9.0] * 4


def test_a_turn_that_takes_longer_is_followed_at_once() -> None:
    stop = Waits()
    steps = Steps(stop, 1)
    assert repeated(steps, every=0.5, stop=stop, clock=lambda: steps.now) == 0
    assert stop.seconds == [0.0]


def test_told_to_stop_before_it_begins_it_does_nothing() -> None:
    stop = threading.Event()
    stop.set()
    steps = Steps(stop, 1)
    assert repeated(steps, every=1.0, stop=stop, clock=lambda: 0.0) == 0
    assert steps.left == 1


def test_a_signal_ends_the_waiting_at_once() -> None:
    with PipeStop() as stop:
        assert not stop.is_set()
        assert not stop.wait(0.0)
        before = signal.signal(signal.SIGUSR1, lambda *_: stop.set())
        try:
            timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
            timer.start()
            assert stop.wait(60.0)
            timer.join()
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert stop.is_set()
        for _ in range(100_000):
            stop.set()
        assert stop.is_set()
