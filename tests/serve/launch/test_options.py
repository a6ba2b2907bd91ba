from pathlib import Path

import pytest
import tyro

from triskele.serve.cache.named import EVICTIONS
from triskele.serve.launch import EngineOptions, GatewayOptions, ServeConfig
from triskele.serve.routing.named import ROUTERS

UPSTREAM = ("http://127.0.0.1:8001",)


def parse(*arguments: str) -> ServeConfig:
    return tyro.cli(ServeConfig, args=arguments, config=(tyro.conf.OmitArgPrefixes,))


def test_there_must_be_something_to_serve() -> None:
    with pytest.raises(ValueError, match="expected --upstream URL, or --model DIR"):
        ServeConfig()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: ServeConfig(upstream=UPSTREAM, engine=EngineOptions(workers=0)), "one worker"),
        (lambda: ServeConfig(upstream=UPSTREAM, port=70_000), "a port from 0 to 65535"),
        (lambda: ServeConfig(upstream=UPSTREAM, port=-1), "a port from 0 to 65535"),
        (
            lambda: ServeConfig(upstream=UPSTREAM, gateway=GatewayOptions(tls_cert=Path("c"))),
            "--tls-cert and --tls-key together",
        ),
        (
            lambda: ServeConfig(upstream=UPSTREAM, gateway=GatewayOptions(tls_key=Path("k"))),
            "--tls-cert and --tls-key together",
        ),
    ],
)
def test_what_cannot_be_is_refused(config: type[ServeConfig], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config()


def test_the_command_line_is_the_record() -> None:
    words = "--upstream http://a:1 --upstream http://b:2 --router dynamo --eviction rlt --port 0"
    more = "--queue 7 --allow-upstream *.x:1 --allow-upstream y:2 --keep-text --journal j"
    config = parse(*words.split(), *more.split())
    assert config == ServeConfig(
        upstream=("http://a:1", "http://b:2"),
        router="dynamo",
        eviction="rlt",
        port=0,
        gateway=GatewayOptions(
            queue=7, allow_upstream=("*.x:1", "y:2"), keep_text=True, journal=Path("j")
        ),
    )


def test_the_defaults_of_the_command_line_are_those_of_the_record() -> None:
    assert parse("--upstream", UPSTREAM[0]) == ServeConfig(upstream=UPSTREAM)
    assert parse("--model", "m") == ServeConfig(model=Path("m"))


def test_the_help_names_every_policy(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name in (*ROUTERS, *EVICTIONS):
        assert name in said
