import pytest

from triskele.optim.hyperparameters import check_group


@pytest.mark.parametrize("algorithm", ["dynmuon", "adamw", "soap"])
def test_every_algorithm_needs_a_learning_rate_and_a_decay_that_are_not_negative(
    algorithm: str,
) -> None:
    for lr, weight_decay, name in ((-1.0, 0.0, "lr"), (0.1, -1.0, "weight_decay")):
        with pytest.raises(ValueError, match=f"{name} must be ≥ 0, got -1.0"):
            check_group({"algorithm": algorithm, "lr": lr, "weight_decay": weight_decay})


def test_soap_needs_a_covariance_beta_below_one() -> None:
    group = {"algorithm": "soap", "lr": 0.1, "weight_decay": 0.0, "betas": (0.9, 0.9)}
    with pytest.raises(ValueError, match=r"covariance_beta must lie in \[0, 1\), got 1.0"):
        check_group({**group, "covariance_beta": 1.0})
