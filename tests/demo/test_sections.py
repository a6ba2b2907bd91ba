from dataclasses import replace

import pytest
from tests.demo.small_demo import findings

from triskele.demo.sections import (
    choice_section,
    learning_section,
    serving_section,
    time_section,
    training_section,
)


def test_the_race_says_how_many_steps_were_saved():
    drawn = training_section(findings())
    assert "DynMuon needs 28 steps for what takes Muon 40: 29% fewer steps." in drawn
    assert ">28<" in drawn
    assert ">40<" in drawn


@pytest.mark.parametrize(
    ("contender", "said"),
    [
        ((6.0, 5.0, 4.0, 3.0, 2.8), "DynMuon does not come down to it."),
        ((6.0, 5.0, 4.0, 3.0, 2.0), "12% more steps"),
    ],
)
def test_a_race_that_is_lost_is_told_as_one(contender, said):
    assert said in training_section(findings(contender=contender))


def test_each_policy_has_its_figures_and_the_best_of_each_column_is_marked():
    drawn = serving_section(findings())
    for said in ("Round robin", "Cache-aware", "LBGR", "306 ms", "40.0%"):
        assert said in drawn
    assert '<td class="best">106 ms</td>' in drawn
    assert '<td class="best">306 ms</td>' not in drawn


def test_the_loop_says_what_it_went_by_and_what_it_gained():
    drawn = learning_section(findings())
    for said in ("36 comparisons", "on 12 queries", "+0.290 ± 0.020", "Version 1"):
        assert said in drawn


def test_what_was_not_published_and_alarms_are_told():
    found = findings(published=False)
    verdict = replace_verdict(found, alarms=("something is <off>",), gain=None, gain_error=None)
    drawn = learning_section(verdict)
    for said in (">Nothing<", "not compared", "something is &lt;off&gt;"):
        assert said in drawn


def test_choices_are_shown_before_and_after_with_what_was_explored():
    found = findings()
    drawn = choice_section(found)
    assert "Before: 25% to the right model" in drawn
    assert "After: 92% to the right model" in drawn
    assert "4 of 4 to the code model" in drawn
    assert "on purpose" not in drawn
    answers = (replace(found.after.round.answers[0], reason="exploration"),)
    explored = replace(
        found.after,
        round=replace(found.after.round, answers=answers + found.after.round.answers[1:]),
    )
    assert "1 of the 12 went to another model on purpose" in choice_section(
        replace(found, after=explored)
    )


def test_the_time_is_that_of_all_parts():
    drawn = time_section(findings())
    for said in ("Where 2:40 went", "1:40", "training", "1:00", "serving"):
        assert said in drawn


def replace_verdict(found, **changes):
    known = {name: getattr(found.verdict, name) for name in found.verdict.__struct_fields__}
    return replace(found, verdict=type(found.verdict)(**{**known, **changes}))
