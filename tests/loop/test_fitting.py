import numpy as np
import pytest
from scipy.special import expit
from tests.loop.worlds import EMBEDDER, MODELS, QUALITY, SMALL, World, embed, evidence_of

from triskele.loop.evidence import Evidence, Floats, Gathering
from triskele.loop.fitting import FitConfig, Fitted, fit, priced


def fitted(evidence: Evidence, x: Floats, weight: Floats | None = None) -> Fitted:
    return fit(
        x,
        evidence,
        np.ones(len(evidence)) if weight is None else weight,
        config=SMALL,
        embedder=EMBEDDER,
        prices={"coder": 2.0},
        rng=np.random.default_rng(0),
    )


def test_quality_is_the_score_to_be_expected_on_each_kind_of_query() -> None:
    evidence, x = evidence_of(World(np.random.default_rng(0)), 1500)
    found = fitted(evidence, x)
    assert found.is_structured
    assert found.error < 0.05
    table = found.table
    assert table.models == MODELS
    for place, kind in enumerate(QUALITY):
        assert table.quality(np.eye(2)[place]) == pytest.approx(QUALITY[kind], abs=0.12)


def test_where_queries_do_not_differ_there_is_one_ranking() -> None:
    world = World(
        np.random.default_rng(1), quality={"code": (0.8, 0.5, 0.3), "past": (0.8, 0.5, 0.3)}
    )
    evidence, x = evidence_of(world, 800)
    found = fitted(evidence, x)
    assert not found.is_structured
    assert len(found.table.points) == 0
    assert found.table.quality(None) == pytest.approx([0.8, 0.5, 0.3], abs=0.08)


def test_few_queries_make_one_ranking_at_once() -> None:
    evidence, x = evidence_of(World(np.random.default_rng(2)), 40)
    assert len(fitted(evidence, x).table.points) == 0


def test_without_any_score_quality_is_against_a_model_of_the_mean_strength() -> None:
    rng = np.random.default_rng(3)
    gathering = Gathering()
    for number in range(40):
        won = float(rng.random() < expit(2.0))
        gathering.preference(
            f"q{number}", "weak", "strong", outcome=won, answered=0, arrived=0, source="s"
        )
    evidence = gathering.evidence()
    table = fitted(evidence, embed(evidence.texts)).table
    assert table.models == ("strong", "weak")
    assert table.bias[0] == pytest.approx(-table.bias[1], abs=1e-6)
    assert 0.6 < table.quality(None)[0] < 0.85


def test_what_has_no_weight_is_not_there() -> None:
    evidence, x = evidence_of(World(np.random.default_rng(4)), 300)
    weight = (np.arange(300) < 150).astype(float)
    some, all_of_some = fitted(evidence, x, weight), fitted(evidence.take(weight > 0), x)
    assert some.table.bias == pytest.approx(all_of_some.table.bias)
    with pytest.raises(ValueError, match="some weight"):
        fitted(evidence, x, np.zeros(300))


def test_a_model_of_unknown_price_costs_as_much_as_the_dearest() -> None:
    assert priced(["a", "b"], {"a": 1.0, "z": 7.0}) == [1.0, 7.0]
    assert priced(["a"], {}) == [1.0]


def test_settings_that_cannot_be_meant_are_refused() -> None:
    for changes in ({"landmarks": 0}, {"folds": 1}, {"kinds": 0}):
        with pytest.raises(ValueError, match="landmarks"):
            FitConfig(**changes)  # type: ignore[arg-type]
