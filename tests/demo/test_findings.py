import json

import pytest
from tests.demo.small_demo import findings, workload

from triskele.demo.findings import domains_of


def test_hits_count_by_tokens_and_quantiles_by_requests():
    found = findings()
    robin, _, ours = found.rounds
    assert robin.hit_rate == pytest.approx(0.4)
    assert robin.quantile(0.0) == pytest.approx(0.3)
    assert ours.quantile(0.5) < robin.quantile(0.5)


def test_the_right_model_is_that_of_the_fewest_bits():
    found = findings()
    # One query of code is continued better by the English model.
    assert found.before.share_right == pytest.approx(3 / 12)
    assert found.after.share_right == pytest.approx(11 / 12)
    assert found.after.bits == pytest.approx((4.0 + 11 * 2.0) / 12)
    assert found.after.best_bits == pytest.approx((1.0 + 11 * 2.0) / 12)


def test_choices_are_counted_by_domain_and_model():
    found = findings()
    assert found.after.table(found.models).tolist() == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    assert found.before.table(found.models).tolist() == [[4, 0, 0]] * 3


def test_talents_are_means_over_the_queries_of_both_workloads():
    talents = findings().talents()
    assert talents[1].tolist() == [4.0, 2.0, 4.0]
    assert talents[0].tolist() == pytest.approx([2.5, 3.25, 3.75])


def test_domains_of_queries_are_those_of_their_passages():
    assert domains_of(workload())[:5] == ("code", "code", "code", "code", "english")


def test_all_figures_are_plain_and_rounded():
    figures = json.loads(json.dumps(findings().figures()))
    assert figures["steps"] == {
        "domain": "code",
        "target_loss": 2.5,
        "muon": 40.0,
        "dynmuon": 28.33,
        "saving": 0.2917,
        "final_loss_muon": 2.3,
        "final_loss_dynmuon": 2.1,
    }
    assert figures["choice"]["after"]["share_right"] == 0.9167
    assert figures["seconds"] == 160.0


def test_a_target_that_is_not_reached_is_no_figure():
    figures = findings(contender=(6.0, 5.0, 4.0, 3.0, 2.8)).figures()
    assert figures["steps"]["dynmuon"] is None
    assert figures["steps"]["saving"] is None
