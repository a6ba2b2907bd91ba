import pytest
from tests.demo.small_demo import SCALE, STEPS, Watched, trained

from triskele.demo.domains import Domain
from triskele.demo.models import train_models
from triskele.model import load_checkpoint, load_tokenizer


def domain(name: str) -> Domain:
    documents = tuple(
        "".join(f"{name} {number} has line {line} of it.\n" for line in range(40))
        for number in range(30)
    )
    return Domain(name, name, documents, documents)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    watched = Watched()
    out = tmp_path_factory.mktemp("demo")
    domains = [domain("code"), domain("english")]
    return watched, train_models(domains, out, SCALE.training, steps=STEPS, seed=0, watcher=watched)


def test_every_domain_gets_a_model_and_the_first_one_a_rival(found):
    watched, result = found
    assert list(result.checkpoints) == ["code", "english"]
    for folder in result.checkpoints.values():
        load_checkpoint(folder)
    arms = [stage for stage in watched.stages if "Muon" in stage]
    assert arms == ["code: Muon", "code: DynMuon", "english: DynMuon"]
    assert result.race.domain == "code"


def test_both_arms_of_the_race_begin_with_the_same_weights_and_batch(found):
    race = found[1].race
    assert race.rival.curves.losses[0] == race.contender.curves.losses[0]
    assert race.rival.curves.losses[-1] != race.contender.curves.losses[-1]


def test_all_models_share_one_tokenizer(found):
    result = found[1]
    shared = load_tokenizer(result.tokenizer).to_json()
    for folder in result.checkpoints.values():
        assert load_tokenizer(folder / "tokenizer.json").to_json() == shared


def test_the_target_is_what_the_rival_has_after_four_fifths_of_its_steps():
    race = trained().race
    assert race.target == 2.5
    assert race.rival_steps == 40.0
    assert race.contender_steps == pytest.approx(20 + 10 * 0.5 / 0.6)
    assert race.saving == pytest.approx(1 - race.contender_steps / 40)


def test_a_target_that_is_not_reached_saves_nothing():
    race = trained(contender=(6.0, 5.0, 4.0, 3.0, 2.8)).race
    assert race.contender_steps is None
    assert race.saving is None
