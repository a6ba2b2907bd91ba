from tests.demo.small_demo import Watched
from tests.train.test_terminal import STARTED

from triskele.demo.watching import Unwatched, watched_preparation
from triskele.train.records import Progress


def test_each_part_of_a_preparation_is_a_stage():
    watched = Watched()
    sink = watched_preparation(watched, "code")
    for record in (
        Progress(stage="tokenizing", done=3, total=9),
        STARTED,
        Progress(stage="tokenizing", done=9, total=9),
    ):
        sink(record)
    assert watched.stages == ["code: tokenizing"]
    assert watched.shown == [("code: tokenizing", 3, ""), ("code: tokenizing", 9, "")]


def test_who_does_not_look_sees_nothing():
    blind = Unwatched()
    assert blind.begin("a", 1) is blind.advance("a", 1, "b") is blind.say("c") is None
