from tests.demo.small_demo import Watched
from tests.train.test_terminal import FINISHED, STARTED, STEP, VALIDATION

from triskele.demo.watching import Unwatched, watched_training
from triskele.train.records import Progress


def test_a_training_run_is_a_stage_with_its_figures():
    watched = Watched()
    sink = watched_training(watched, "code")
    for record in (Progress(stage="tokenizing", done=3, total=9), STARTED, VALIDATION, STEP):
        sink(record)
    sink(FINISHED)
    assert watched.stages == ["code: tokenizing", "code: DynMuon"]
    done, figures = watched.shown[-1]
    assert done == 42
    assert figures == "42/100  loss 3.250  val 3.500  6.4k tok/s"


def test_who_does_not_look_sees_nothing():
    blind = Unwatched()
    assert blind.begin("a", 1) is blind.advance(1, "b") is blind.say("c") is None
