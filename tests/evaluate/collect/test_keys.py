from pathlib import Path

import pytest

from triskele.evaluate.collect.endpoints import Endpoint
from triskele.evaluate.collect.keys import Key, read_keys

SECRET = "sk-0123456789abcdef"
ONE = {"default": Endpoint("default", "http://a/v1")}
TWO = {"own": Endpoint("own", "http://a/v1"), "far": Endpoint("far", "https://b/v1")}


def test_a_key_shows_itself_in_its_header_only() -> None:
    key = Key(SECRET)
    assert key.header() == {"Authorization": f"Bearer {SECRET}"}
    assert SECRET not in f"{key!r} {key} {[key]}"
    assert key.hide(f"bad key {SECRET}!") == "bad key [key]!"
    assert not hasattr(key, "__dict__")


def test_a_placeholder_is_no_secret() -> None:
    assert Key("EMPTY").hide("EMPTY words") == "EMPTY words"


def test_keys_come_from_variables_and_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{SECRET}\n")
    keys = read_keys(
        TWO,
        variables=["far=FAR_KEY"],
        files=[f"own={tmp_path / 'key'}"],
        environment={"FAR_KEY": "other-key"},
    )
    assert keys["own"].header() == Key(SECRET).header()
    assert keys["far"].header() == Key("other-key").header()
    assert read_keys(ONE, environment={"OPENAI_API_KEY": SECRET}) == {}


def test_a_key_goes_to_the_only_endpoint_but_not_to_two() -> None:
    assert list(read_keys(ONE, variables=["V"], environment={"V": SECRET})) == ["default"]
    with pytest.raises(ValueError, match="--key-env ENDPOINT="):
        read_keys(TWO, variables=["V"], environment={"V": SECRET})


@pytest.mark.parametrize(
    ("variables", "files"),
    [
        ([SECRET], []),
        (["SECRET0123456789"], []),
        ([f"{SECRET}=x"], []),
        ([], [SECRET]),
        ([], [f"{SECRET}/../{SECRET}"]),
        (["SPACED"], []),
        (["V", "V"], []),
        (["default=V"], ["V"]),
        (["V"], [__file__]),
    ],
)
def test_what_is_put_in_the_wrong_place_is_never_repeated(
    variables: list[str], files: list[str]
) -> None:
    environment = {"V": SECRET, "SPACED": f"two words {SECRET}"}
    with pytest.raises(ValueError, match="key") as raised:
        read_keys(ONE, variables=variables, files=files, environment=environment)
    for secret in (SECRET, "SECRET0123456789"):
        assert secret not in str(raised.value)
    assert raised.value.__cause__ is None
