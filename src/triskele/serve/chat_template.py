"""Conversations to prompts: a model's own chat template, rendered as its authors tested it.

Templates are Jinja with the few additions that Hugging Face's conventions make: ``tojson`` that
leaves HTML alone, ``raise_exception``, ``strftime_now``, loop controls, ``generation`` blocks, and
blocks that leave no blank lines. They come with checkpoints from strangers and run in a sandbox.

A model without a template gets the conversation in plain words.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

TOKENIZER_CONFIG = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
PLAIN = (
    "{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)

Message = Mapping[str, Any]


class ChatTemplate:
    """Renders conversations.

    Parameters
    ----------
    source
        The template.
    variables
        Special tokens by the names that templates use.
    now
        What ``strftime_now`` reads.

    Raises
    ------
    ValueError
        When the template is no valid Jinja.
    """

    def __init__(
        self,
        source: str = PLAIN,
        *,
        variables: Mapping[str, str] | None = None,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, GenerationBlock]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda layout: now().strftime(layout)
        self._variables = dict(variables or {})
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ValueError(f"the chat template is no valid Jinja: {error}") from error

    @classmethod
    def of_folder(
        cls, directory: str | Path, *, now: Callable[[], datetime] = datetime.now
    ) -> "ChatTemplate":
        """Return the template of a checkpoint: ``chat_template.jinja``, or the tokenizer's.

        Raises
        ------
        ValueError
            When a file is damaged.
        """
        config = _read(Path(directory) / TOKENIZER_CONFIG)
        variables = {}
        for name in SPECIAL_TOKENS:
            stated = config.get(name)
            text = stated.get("content") if isinstance(stated, dict) else stated
            if isinstance(text, str):
                variables[name] = text
        beside = Path(directory) / TEMPLATE_FILE
        if beside.is_file():
            source = beside.read_text(encoding="utf-8")
        else:
            source = _stated(config.get("chat_template"))
        return cls(source, variables=variables, now=now)

    def render(self, messages: Sequence[Message]) -> str:
        """Return the prompt after which the assistant speaks.

        Raises
        ------
        ValueError
            When the template refuses the conversation.
        """
        try:
            return self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=True,
                **self._variables,
            )
        except jinja2.TemplateError as error:
            raise ValueError(f"the chat template refuses these messages: {error}") from error
        except Exception as error:
            # A stranger's template may fail in any way; that is the conversation's fault here.
            raise ValueError(f"the chat template fails on these messages: {error}") from error


class GenerationBlock(Extension):
    """``{% generation %}``, by which templates mark what a model said; here just its content."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the content of the block."""
        parser.stream.skip(1)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"expected an object in {path}, got {type(config).__name__}")
    return config


def _stated(template: object) -> str:
    """Return the template that a configuration states: one, or the default of several."""
    if isinstance(template, list):
        named = {each["name"]: each["template"] for each in template}
        template = named.get("default", next(iter(named.values()), None))
    return template if isinstance(template, str) else PLAIN


def _to_json(value: object, indent: int | None = None, **_: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
