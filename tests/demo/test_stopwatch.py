from triskele.demo.stopwatch import Stopwatch


def test_laps_are_the_times_between_and_those_of_one_name_add_up():
    times = iter([10.0, 11.0, 14.0, 20.0])
    watch = Stopwatch(lambda: next(times))
    for name in ("train", "serve", "train"):
        watch.lap(name)
    assert watch.laps == {"train": 7.0, "serve": 3.0}
