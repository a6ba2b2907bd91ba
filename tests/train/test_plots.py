import struct

import numpy as np
from matplotlib import pyplot

from triskele.train.metrics import Curves
from triskele.train.plots import Run, plot_losses


def curves(offset=0.0, *, n=200, validated=True):
    steps = tuple(range(1, n + 1))
    losses = tuple(float(3.0 + offset + 4.0 * np.exp(-s / 40)) for s in steps)
    every = slice(9, None, 10) if validated else slice(0, 0)
    return Curves(steps, losses, steps[every], losses[every])


def size_of(path):
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", header[16:24])


def test_two_runs_and_a_target_make_a_picture(tmp_path):
    path = tmp_path / "loss.png"
    runs = [Run("Muon", curves(0.1)), Run("DynMuon", curves())]
    plot_losses(path, runs, title="side by side", target=3.2)
    assert size_of(path) == (1200, 720)


def test_a_marked_target_changes_the_picture(tmp_path):
    for name, target in (("without", None), ("with", 3.5)):
        plot_losses(tmp_path / f"{name}.png", [Run("a", curves())], title="", target=target)
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "without.png").read_bytes()


def test_a_run_that_never_reaches_the_target_is_drawn_unmarked(tmp_path):
    plot_losses(tmp_path / "loss.png", [Run("a", curves())], title="", target=0.5)
    assert size_of(tmp_path / "loss.png") == (1200, 720)


def test_runs_without_validation_or_without_anything_are_drawn(tmp_path):
    empty = Curves((), (), (), ())
    runs = [Run("only training", curves(validated=False)), Run("nothing yet", empty)]
    plot_losses(tmp_path / "loss.svg", runs, title="")
    assert (tmp_path / "loss.svg").stat().st_size > 1000


def test_a_loss_that_is_not_finite_does_not_stop_the_drawing(tmp_path):
    broken = Curves((1, 2, 3), (3.0, float("inf"), 2.0), (), ())
    plot_losses(tmp_path / "loss.png", [Run("a", broken)], title="")
    assert size_of(tmp_path / "loss.png") == (1200, 720)


def test_drawing_leaves_no_figure_in_pyplot(tmp_path):
    plot_losses(tmp_path / "loss.png", [Run("a", curves())], title="")
    assert pyplot.get_fignums() == []
