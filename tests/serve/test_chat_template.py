import json
from datetime import datetime
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from triskele.serve.chat_template import ChatTemplate

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
# After the template of a common family of models.
CHATML = """{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""

SNIPPETS = [
    "  {% if true %}\n  x{{ bos_token }}\n  {% endif %}\n",
    "{{ messages | tojson(indent=2) }}",
    "{% for m in messages %}{% generation %}{{ m.content }}\n{% endgeneration %}{% endfor %}",
    "{% for m in messages %}{% if loop.last %}{% continue %}{% endif %}{{ m.role }}{% endfor %}",
    "{% set s = namespace(n=0) %}{% for m in messages %}{% set s.n = s.n + 1 %}{% endfor %}{{s.n}}",
    "{{ messages[0]['content'].upper() | trim }}{{ tools is defined }}{{ tools is none }}",
]


def test_without_a_template_a_conversation_reads_as_one() -> None:
    assert ChatTemplate().render(TURNS) == "User: Hi\n\nAssistant: Hello.\n\nAssistant:"


def test_a_template_is_rendered_as_written() -> None:
    assert ChatTemplate(CHATML).render(TURNS) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_templates_have_what_hugging_face_gives_them() -> None:
    source = (
        "{% for m in messages %}\n"
        "  {% if loop.index > 1 %}{% break %}{% endif %}\n"
        "  {{ m | tojson }}\n"
        "{% endfor %}\n"
        "{% generation %}said{% endgeneration %} {{ strftime_now('%d %b %Y') }} {{ bos_token }}"
    )
    template = ChatTemplate(
        source, variables={"bos_token": "<s>"}, now=lambda: datetime(2024, 7, 26)
    )
    rendered = template.render([{"role": "user", "content": "<é>"}, *TURNS])
    assert rendered.split("\n") == [
        '  {"role": "user", "content": "<é>"}',
        "said 26 Jul 2024 <s>",
    ]


@pytest.mark.parametrize("source", [CHATML, *SNIPPETS])
def test_transformers_renders_the_same(source: str) -> None:
    rendered, _ = render_jinja_template(
        conversations=[TURNS], chat_template=source, add_generation_prompt=True, bos_token="<s>"
    )
    ours = ChatTemplate(source, variables={"bos_token": "<s>"}).render(TURNS)
    assert ours == rendered[0]


def test_a_template_may_refuse_a_conversation() -> None:
    template = ChatTemplate("{{ raise_exception('Roles must alternate') }}")
    with pytest.raises(ValueError, match="refuses these messages: Roles must alternate"):
        template.render(TURNS)
    with pytest.raises(ValueError, match="fails on these messages"):
        ChatTemplate("{{ messages[0].content + 1 }}").render(TURNS)


def test_a_template_cannot_leave_its_sandbox() -> None:
    for source in (
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages.__init__.__globals__ }}",
    ):
        with pytest.raises(ValueError, match="chat template"):
            ChatTemplate(source).render(TURNS)


def test_a_template_that_is_no_jinja_is_named() -> None:
    with pytest.raises(ValueError, match="no valid Jinja"):
        ChatTemplate("{% for %}")


@pytest.mark.parametrize(
    "stated",
    [
        "{{ bos_token }}{{ messages[0].content }}",
        [
            {"name": "tool_use", "template": "x"},
            {"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}"},
        ],
    ],
)
def test_a_folder_states_its_template_and_special_tokens(stated: object, tmp_path: Path) -> None:
    assert ChatTemplate.of_folder(tmp_path).render(TURNS).startswith("User: Hi")
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": stated}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert ChatTemplate.of_folder(tmp_path).render(TURNS) == "<s>Hi"
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}{{ eos_token }}")
    assert ChatTemplate.of_folder(tmp_path).render(TURNS) == "Hi</s>"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json is not JSON"):
        ChatTemplate.of_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"expected an object in .*, got list"):
        ChatTemplate.of_folder(tmp_path)
