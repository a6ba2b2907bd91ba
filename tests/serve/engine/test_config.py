import dataclasses
import inspect

from triskele.serve.engine import config
from triskele.serve.engine.config import EngineConfig


def test_every_option_is_explained() -> None:
    lines = inspect.getsource(config).split("class EngineConfig:")[1].splitlines()
    for field in dataclasses.fields(EngineConfig):
        at = next(n for n, line in enumerate(lines) if line.startswith(f"    {field.name}:"))
        assert lines[at + 1].startswith('    """')


def test_the_default_listens_to_this_machine_alone() -> None:
    assert (EngineConfig().host, EngineConfig().port) == ("127.0.0.1", 0)
