import pytest

from triskele.evaluate.collect.endpoints import (
    Endpoint,
    Model,
    per_endpoint,
    read_endpoints,
    read_model,
    read_models,
)

TWO = {"own": Endpoint("own", "http://a/v1"), "far": Endpoint("far", "https://b/v1")}
ONE = {"default": Endpoint("default", "http://a/v1")}


def test_one_endpoint_needs_no_name_and_several_do() -> None:
    assert read_endpoints(["http://a:1/v1/"]) == {"default": Endpoint("default", "http://a:1/v1")}
    assert read_endpoints(["own=http://a/v1", "far=https://b/v1"]) == TWO
    with pytest.raises(ValueError, match="NAME=ADDRESS for each"):
        read_endpoints(["own=http://a/v1", "http://b/v1"])


def test_an_address_may_go_on_to_the_completions() -> None:
    assert read_endpoints(["http://a/v1/chat/completions"])["default"].address == "http://a/v1"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["own=http://a/v1", "own=http://b/v1"],
        ["ftp://a"],
        ["http://"],
        ["a/v1"],
        ["http://a:notaport/v1"],
        ["http://[::1/v1"],
    ],
)
def test_what_is_no_address_is_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_endpoints(words)


@pytest.mark.parametrize("address", ["http://me:hunter2@a/v1", "http://a/v1?key=hunter2"])
def test_an_address_with_a_secret_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ValueError, match="without user, password") as raised:
        read_endpoints([address])
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("llama@own", Model("llama", "llama", "own")),
        ("org/llama:8b@far", Model("org/llama:8b", "org/llama:8b", "far")),
        ("tuned=llama@own", Model("tuned", "llama", "own")),
        ("@cf/meta/llama@far", Model("@cf/meta/llama", "@cf/meta/llama", "far")),
    ],
)
def test_a_model_is_at_the_endpoint_after_its_last_at(word: str, expected: Model) -> None:
    assert read_model(word, TWO) == expected


def test_with_one_endpoint_a_name_may_hold_an_at() -> None:
    assert read_model("@cf/meta/llama", ONE) == Model("@cf/meta/llama", "@cf/meta/llama", "default")
    assert read_model("llama@default", ONE).name == "llama"


@pytest.mark.parametrize("word", ["llama", "llama@other", "@own", "x=@own"])
def test_a_model_without_name_or_endpoint_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_model(word, TWO)


def test_models_have_different_labels() -> None:
    assert list(read_models(["b@own", "a@own"], TWO)) == ["b", "a"]
    with pytest.raises(ValueError, match="LABEL=MODEL gives"):
        read_models(["a@own", "a@far"], TWO)
    assert list(read_models(["a@own", "other=a@far"], TWO)) == ["a", "other"]


def test_values_belong_to_an_endpoint_or_to_all() -> None:
    assert per_endpoint(["8", "own=64"], TWO, option="--n") == {None: "8", "own": "64"}
    for words in (["8", "9"], ["own=1", "own=2"], ["other=hunter2"]):
        with pytest.raises(ValueError, match="--n") as raised:
            per_endpoint(words, TWO, option="--n")
        assert "hunter2" not in str(raised.value)
