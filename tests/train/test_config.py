import inspect
import json
from dataclasses import FrozenInstanceError, asdict, fields, is_dataclass
from pathlib import Path

import pytest

from triskele.optim import DynMuon
from triskele.train import (
    BatchOptions,
    ModelOptions,
    ScheduleOptions,
    SnapshotOptions,
    TextOptions,
    TrainConfig,
    TuneOptions,
)
from triskele.train import config as config_module
from triskele.train.config import LABELS, RECIPES


def config(**changes):
    return TrainConfig(data=Path("text"), out=Path("run"), **changes)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        config().seed = 1


def test_a_configuration_is_plain_data_for_json():
    plain = json.loads(json.dumps(config(text=TextOptions(tokenizer=Path("t.json"))).to_dict()))
    assert plain["data"] == "text"
    assert plain["text"]["tokenizer"] == "t.json"
    assert plain["batch"] == {"size": None, "micro": None, "context": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
        ({"steps": -5}, "steps must be positive, got -5"),
        ({"model": ModelOptions(d_model=0)}, "model.d_model must be positive"),
        ({"batch": BatchOptions(context=-1)}, "batch.context must be positive"),
        ({"tune": TuneOptions(clip=0.0)}, "tune.clip must be positive"),
        ({"snapshot": SnapshotOptions(keep=0)}, "snapshot.keep must be positive"),
        ({"text": TextOptions(validation_share=0.6)}, r"must lie in \(0, 0.5\), got 0.6"),
        ({"schedule": ScheduleOptions(floor=1.5)}, r"schedule.floor must lie in \[0, 1\]"),
        ({"schedule": ScheduleOptions(warmup=0.6, cooldown=0.6)}, "add up to at most 1"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)


def test_every_optimizer_has_a_recipe_and_a_name():
    assert RECIPES.keys() == LABELS.keys()


def test_the_recipe_of_dynmuon_is_the_one_a_user_s_own_loop_gets():
    signature = inspect.signature(DynMuon.from_model).parameters
    recipe = asdict(RECIPES["dynmuon"])
    names = {"adam_lr": "adamw_lr", "betas": "adamw_betas"}
    assert recipe == {key: signature[names.get(key, key)].default for key in recipe}


def test_every_option_is_explained():
    """The command line shows the line under a field; one without would teach nothing."""
    lines = Path(config_module.__file__).read_text(encoding="utf-8").splitlines()
    for part in (config(), *[getattr(config(), f.name) for f in fields(TrainConfig)]):
        if not is_dataclass(part):
            continue
        for field in fields(part):
            if is_dataclass(getattr(part, field.name)):
                continue
            at = [i for i, x in enumerate(lines) if x.startswith(f"    {field.name}: ")]
            assert any(lines[i + 1].strip().startswith('"""') for i in at), field.name
