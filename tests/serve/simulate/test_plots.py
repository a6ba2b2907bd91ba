import struct
from pathlib import Path

import pytest
from matplotlib import pyplot
from tests.serve.simulate.runs import result

from triskele.serve.simulate.plots import Curve, plot_results
from triskele.serve.simulate.result import Result


def size_of(path: Path) -> tuple[int, ...]:
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", header[16:24])


def draw(folder: Path, *results: Result, slo: float = 2.0) -> Path:
    path = folder / "picture.png"
    curves = [Curve(f"router-{number}+lru", made) for number, made in enumerate(results)]
    plot_results(path, curves, title="some requests", slo=slo)
    return path


def test_some_trials_make_a_picture(tmp_path: Path) -> None:
    width, height = size_of(draw(tmp_path, result(predicts=True), result(slowness=9.0)))
    assert width > height > 800
    assert pyplot.get_fignums() == [], "no figure is left behind"


def test_more_trials_than_colours_get_more_room(tmp_path: Path) -> None:
    few = size_of(draw(tmp_path, result()))
    many = size_of(draw(tmp_path, *(result(seed=seed) for seed in range(10))))
    assert many[1] > few[1]


@pytest.mark.parametrize(
    "made",
    [
        result(1),
        result(2, slowness=0.0),
        result(6, n_lost=6),
        result(40, n_lost=1, predicts=True, n_workers=200),
        result(3, slowness=1e6, predicts=True),
    ],
    ids=["one request", "no time at all", "none answered", "many workers", "very slow"],
)
def test_what_there_is_is_drawn(made: Result, tmp_path: Path) -> None:
    size_of(draw(tmp_path, made))


def test_the_objective_is_marked(tmp_path: Path) -> None:
    one = draw(tmp_path, result(), slo=0.25).read_bytes()
    assert one != draw(tmp_path, result(), slo=0.35).read_bytes()
