import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.serve.routing.capability import Candidate, CapabilityRouter, Decision, Preference
from triskele.serve.routing.capability_table import CapabilityTable, table_of

MODELS = ("small", "middle", "large")
TABLE = table_of(
    MODELS,
    prices=[1, 3, 10],
    bias=[-1.0, 0.0, 1.0],
    points=[[1.0, 0.0]],
    gamma=1.0,
    # Near the landmark the small model is the best.
    weights=[[4.0, 0.0, 0.0]],
)
EASY, HARD = [1.0, 0.0], [-9.0, 0.0]


def decide(
    embedding: list[float] | None,
    *,
    table: CapabilityTable | None = TABLE,
    offered: tuple[str, ...] = MODELS,
    latency: dict[str, float] | None = None,
    burden: dict[str, float] | None = None,
    seed: int = 0,
    preference: Preference | None = None,
) -> Decision:
    router = CapabilityRouter(np.random.default_rng(seed))
    wanted = preference or Preference()
    return router.decide(
        table, embedding, offered, latency=latency, burden=burden, preference=wanted
    )


def test_the_cheapest_that_is_good_enough_is_taken() -> None:
    assert decide(EASY).model == "small"
    assert decide(HARD).model == "large"
    assert decide(HARD, preference=Preference(margin=0.3)).model == "middle"
    assert decide(HARD, preference=Preference(margin=1.0)).model == "small"


def test_without_price_the_fastest_that_is_good_enough_is_taken() -> None:
    fastest = Preference(margin=0.3, price=0.0, latency=1.0)
    seconds = {"small": 0.1, "middle": 2.0, "large": 1.0}
    assert decide(HARD, latency=seconds, preference=fastest).model == "large"


# Near HARD the qualities are 0.27, 0.5 and 0.73.
TOGETHER = Preference(margin=1.0, quality=1.0, price=0.0, latency=0.01)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"small": 1.0, "middle": 2.0, "large": 4.0}, "large"),
        ({"small": 1.0, "middle": 2.0, "large": 30.0}, "middle"),
        ({"small": 1.0, "middle": 40.0, "large": 60.0}, "small"),
    ],
)
def test_a_second_is_worth_so_much_quality_and_the_more_there_is_to_do_the_less_is_asked_for(
    seconds: dict[str, float], expected: str
) -> None:
    assert decide(HARD, latency=seconds, preference=TOGETHER).model == expected
    # Where the small model is the best, there is nothing to weigh.
    assert decide(EASY, latency=seconds, preference=TOGETHER).model == "small"


def test_what_it_costs_everyone_counts_where_it_is_known() -> None:
    own = {"small": 1.0, "middle": 2.0, "large": 4.0}
    decision = decide(HARD, latency=own, burden={"large": 50.0}, preference=TOGETHER)
    assert decision.model == "middle"
    assert decision.candidates[0] == Candidate(
        "large", pytest.approx(0.731, abs=1e-3), 10.0, 4.0, 50.0
    )
    assert [each.seconds for each in decision.candidates] == [50.0, 2.0, 1.0]
    assert decide(HARD, table=None, latency=own, burden={"small": 9.0}).model == "middle"


def test_quality_given_up_counts_within_the_margin_only() -> None:
    seconds = {"small": 0.0, "middle": 30.0, "large": 60.0}
    near = Preference(margin=0.3, quality=1.0, price=0.0, latency=0.01)
    assert decide(HARD, latency=seconds, preference=TOGETHER).model == "small"
    assert decide(HARD, latency=seconds, preference=near).model == "middle"


def test_a_price_is_weighed_against_quality_as_a_share_of_the_dearest() -> None:
    def chosen(price: float) -> str:
        preference = Preference(margin=1.0, quality=1.0, price=price)
        return decide(HARD, preference=preference).model

    # From large to middle 0.23 are given up for 0.7 of the price, to small as much for 0.2 more.
    assert [chosen(price) for price in (0.3, 0.4, 1.3)] == ["large", "middle", "small"]


def test_who_does_not_say_how_long_it_takes_counts_as_the_slowest() -> None:
    hurried = Preference(margin=1.0, quality=1.0, price=0.0, latency=1.0)
    assert decide(HARD, latency={"small": 1.0, "middle": 9.0}, preference=hurried).model == "small"
    # Nobody says: quality decides.
    assert decide(HARD, preference=hurried).model == "large"


def test_a_query_of_which_nothing_is_known_goes_by_the_global_ranking() -> None:
    decision = decide(None)
    assert (decision.model, decision.reason) == ("large", "global ranking")
    assert [each.model for each in decision.candidates] == ["large", "middle", "small"]


def test_without_a_table_latency_alone_decides() -> None:
    decision = decide(EASY, table=None, latency={"middle": 0.2, "large": 0.4})
    assert (decision.model, decision.reason, decision.version) == ("middle", "latency", 0)


def test_models_that_the_table_does_not_know_are_used_only_if_there_is_no_other() -> None:
    assert decide(EASY, offered=("new", "large")).model == "large"
    decision = decide(EASY, offered=("new", "newer"))
    assert decision.reason == "unknown model"
    assert decision.model == "new"


def test_only_what_is_offered_is_chosen_and_nothing_offered_is_refused() -> None:
    assert decide(EASY, offered=("middle", "large")).model == "large"
    with pytest.raises(ValueError, match="at least one model"):
        decide(EASY, offered=())


def test_exploration_has_the_share_asked_for_and_tells_what_it_costs() -> None:
    router = CapabilityRouter(np.random.default_rng(3))
    preference = Preference(explore=0.1)
    decisions = [router.decide(TABLE, HARD, MODELS, preference=preference) for _ in range(3000)]
    explored = [each for each in decisions if each.reason == "exploration"]
    assert 240 < len(explored) < 360
    assert {each.model for each in explored} == {"small", "middle"}
    assert router.n_explored == len(explored)
    assert router.regret == pytest.approx(sum(each.regret for each in decisions))
    assert all(each.regret > 0 for each in explored)
    assert all(each.model == "large" for each in decisions if each.reason != "exploration")


@given(
    st.lists(st.floats(-5, 5), min_size=3, max_size=3),
    st.floats(0, 1),
    st.floats(0, 2),
    st.floats(0, 2),
    st.floats(0, 2),
)
def test_the_choice_is_within_the_margin_and_none_within_it_is_cheaper_and_faster(
    bias: list[float], margin: float, price: float, latency: float, quality: float
) -> None:
    table = table_of(MODELS, prices=[1, 3, 10], bias=bias)
    seconds = {"small": 3.0, "middle": 1.0, "large": 2.0}
    wanted = Preference(margin=margin, price=price, latency=latency, quality=quality)
    decision = decide(EASY, table=table, latency=seconds, preference=wanted)
    chosen = next(each for each in decision.candidates if each.model == decision.model)
    best = decision.candidates[0].quality
    assert chosen.quality >= best - margin
    for each in decision.candidates:
        if each.quality >= best - margin and (price or latency):
            assert chosen.latency is not None
            assert each.latency is not None
            is_better = each.price < chosen.price and each.latency < chosen.latency
            # At equal quality nothing speaks for it; else quality may.
            assert not is_better or (quality and each.quality < chosen.quality)


@pytest.mark.parametrize(
    "wrong", [{"margin": 1.5}, {"explore": 1.0}, {"price": -1.0}, {"quality": np.nan}]
)
def test_preferences_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Preference(**wrong)
