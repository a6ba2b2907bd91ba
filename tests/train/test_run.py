import copy

import numpy as np
import pytest
import torch
from tests.train.small_runs import small_config, write_text

from triskele.train import SnapshotOptions, TrainingDiverged, TuneOptions
from triskele.train.plan import make_plan
from triskele.train.ranks import Ranks
from triskele.train.records import discard
from triskele.train.run import Run
from triskele.train.tokens import prepare


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    config = small_config(write_text(folder / "text.txt"), folder / "run")
    return config, prepare(config, context=16, sink=discard)


def make_run(data, *, validation_tokens=256, **changes):
    config, dataset = data
    plan = make_plan(
        small_config(config.data, config.out, **changes),
        vocab_size=dataset.vocab_size,
        n_train_tokens=len(dataset.train),
        data=dataset.fingerprint,
        device="cpu",
        precision="fp32",
    )
    return Run(
        plan,
        dataset,
        device=torch.device("cpu"),
        validation_tokens=validation_tokens,
        ranks=Ranks(),
    )


def weights_of(run):
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def test_a_step_changes_the_weights_and_validation_does_not(data):
    run = make_run(data)
    before = weights_of(run)
    run.validate()
    assert all(torch.equal(x, before[name]) for name, x in run.model.state_dict().items())
    run.train(0)
    assert not any(torch.equal(x, before[name]) for name, x in run.model.state_dict().items())


def test_validation_is_the_same_every_time_and_untrained_it_is_the_uniform_guess(data):
    run = make_run(data)
    loss = run.validate()
    assert loss == run.validate()
    assert loss == pytest.approx(torch.log(torch.tensor(320.0)).item(), abs=0.1)


def test_validation_averages_over_windows_however_they_are_grouped(data):
    """Seven windows in groups of four: the last group is smaller and must weigh less."""
    run = make_run(data, validation_tokens=7 * 16)
    windows = [run._validation.window(int(w)) for w in run._validation_windows]
    assert len(windows) == 7
    tokens = torch.from_numpy(np.stack(windows))
    with torch.no_grad():
        expected = run.model(tokens[:, :-1], tokens[:, 1:]).item()
    assert run.validate() == pytest.approx(expected, rel=1e-5)


def test_the_learning_rate_follows_the_schedule(data):
    run = make_run(data, steps=100)
    run.train(0)
    assert run.optimizer.lr == pytest.approx(run.plan.lr * 0.25)
    run.train(10)
    assert run.optimizer.lr == pytest.approx(run.plan.lr)
    run.train(99)
    assert run.optimizer.lr == pytest.approx(run.plan.lr * 0.005 / 0.6)


def test_what_was_saved_continues_to_the_bit(data):
    run, other = make_run(data), make_run(data)
    run.train(0)
    other.restore(copy.deepcopy(run.state()))
    assert run.train(1) == other.train(1)
    assert all(torch.equal(x, weights_of(other)[name]) for name, x in weights_of(run).items())


def test_another_plan_is_refused(data):
    with pytest.raises(ValueError, match="seed was 1, is now 0"):
        make_run(data).restore(make_run(data, seed=1).state())


def test_how_often_snapshots_are_taken_is_no_part_of_the_plan(data):
    every = SnapshotOptions(every=3)
    make_run(data).restore(make_run(data, snapshot=every).state())


def test_weights_that_are_not_finite_are_never_handed_out(data):
    run = make_run(data)
    run.model.model.layers[0].mlp.up_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(TrainingDiverged, match=r"layers\.0\.mlp\.up_proj\.weight holds numbers"):
        run.state()


def test_a_loss_that_is_not_finite_leaves_the_weights_as_they_were(data):
    run = make_run(data)
    run.model.model.norm.weight.data.fill_(float("inf"))
    before = weights_of(run)
    with pytest.raises(TrainingDiverged, match="the loss became nan at step 4"):
        run.train(3)
    assert all(torch.equal(x, before[name]) for name, x in run.model.state_dict().items())


def test_clipped_gradients_have_the_norm_that_was_asked_for(data):
    run = make_run(data, tune=TuneOptions(clip=0.01))
    _, norm = run.train(0)
    clipped = torch.stack([x.grad.norm() for x in run.model.parameters()]).norm().item()
    assert norm > 0.01
    assert clipped == pytest.approx(0.01, rel=1e-3)
