import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import tyro

from triskele.evaluate.collect.config import (
    AskingOptions,
    CollectConfig,
    KeyOptions,
    LimitOptions,
)

NEEDED = "--prompts p.txt --models a b --judge c --endpoints http://a/v1"


def parse(line: str) -> CollectConfig:
    return tyro.cli(CollectConfig, args=line.split(), config=(tyro.conf.OmitArgPrefixes,))


def test_only_what_cannot_be_known_has_to_be_said() -> None:
    assert parse(NEEDED) == CollectConfig(
        prompts=Path("p.txt"), models=("a", "b"), judge="c", endpoints=("http://a/v1",)
    )


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        parse(NEEDED).seed = 1  # type: ignore[misc]


def test_the_command_line_is_the_record() -> None:
    line = (
        f"{NEEDED} --out there --pairs pairs.csv --pairs-per-prompt 3 --seed 5 --limit 10 "
        "--id-column nr --text-column ask --dry-run --yes --retry-failed "
        "--key-env own=KEY --key-file far=key.txt --system brief --temperature 0.5 "
        "--answer-tokens 99 --judge-prompt judge.txt --judge-temperature None --verdict-tokens 9 "
        "--prices a=1/2 b=0/0 --max-cost 5 --max-tokens 1000 --concurrency 4 own=64 "
        "--timeout 60 --retries 3 --deadline 3600"
    )
    assert parse(line) == CollectConfig(
        prompts=Path("p.txt"),
        models=("a", "b"),
        judge="c",
        endpoints=("http://a/v1",),
        out=Path("there"),
        pairs=Path("pairs.csv"),
        pairs_per_prompt=3,
        seed=5,
        limit=10,
        id_column="nr",
        text_column="ask",
        dry_run=True,
        yes=True,
        retry_failed=True,
        keys=KeyOptions(key_env=("own=KEY",), key_file=("far=key.txt",)),
        asking=AskingOptions(
            system="brief",
            temperature=0.5,
            answer_tokens=99,
            judge_prompt=Path("judge.txt"),
            judge_temperature=None,
            verdict_tokens=9,
        ),
        limits=LimitOptions(
            prices=("a=1/2", "b=0/0"),
            max_cost=5.0,
            max_tokens=1000,
            concurrency=("4", "own=64"),
            timeout=60.0,
            retries=3,
            deadline=3600.0,
        ),
    )


def test_the_examples_of_the_help_are_understood() -> None:
    text = str(CollectConfig.__doc__)
    blocks = [" ".join(block.split()) for block in text.split("\n\n")]
    examples = [block for block in blocks if block.startswith("triskele evaluate collect")]
    assert len(examples) == 3
    for example in examples:
        parse(re.sub(r"^triskele evaluate collect ", "", example))


def test_no_option_takes_a_key_itself() -> None:
    names = set(KeyOptions.__dataclass_fields__)
    assert names == {"key_env", "key_file"}
