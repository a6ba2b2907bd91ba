"""Prompts as the tokens that workers see; at the end, with workers in processes of their own."""

import asyncio
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import openai
import pytest
import tokenizers
import torch
from tests.serve.gateway.openai_worker import until
from tests.serve.launch.process import Process, running
from tokenizers import processors

from triskele.model import (
    ModelConfig,
    Transformer,
    load_tokenizer,
    save_checkpoint,
    train_tokenizer,
)
from triskele.serve.cache import chained_key, token_key
from triskele.serve.chat_template import ChatTemplate
from triskele.serve.engine.protocol import conversation
from triskele.serve.gateway.prompt import Prompt, read_prompt
from triskele.serve.gateway.tokens import PromptTokens
from triskele.serve.http import Origin, fetch

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
PAGE = 4
BOS = "<s>"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
SHAPE = ModelConfig(vocab_size=300, d_model=32, n_layers=2, n_heads=4, max_seq_len=1024)
WORDS = "the cat sat on the mat and the dog sat on the cat"
SYSTEM = {"role": "system", "content": "You are the cat that sat on the mat. " * 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint whose tokenizer puts a token before every prompt."""
    return save_tiny(tmp_path_factory.mktemp("models") / "cat")


def save_tiny(folder: Path, template: str = TEMPLATE) -> Path:
    tokenizer = train_tokenizer([WORDS] * 3, vocab_size=280)
    model = Transformer(SHAPE, generator=torch.Generator().manual_seed(0))
    save_checkpoint(model, folder, tokenizer=tokenizer)
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.add_special_tokens([BOS])
    begins = [(BOS, backend.token_to_id(BOS))]
    backend.post_processor = processors.TemplateProcessing(f"{BOS} $A", special_tokens=begins)
    backend.save(str(folder / "tokenizer.json"))
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**config, "bos_token": BOS, "chat_template": template}))
    return folder


def bos_of(folder: Path) -> int:
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return int(backend.token_to_id(BOS))


def by_worker(folder: Path, prompt: str | list[dict[str, Any]]) -> list[int]:
    """Return the tokens of a prompt as the engine's process makes them."""
    tokenizer = load_tokenizer(folder, reads_special=True)
    if isinstance(prompt, str):
        return tokenizer.encode_prompt(prompt)
    return tokenizer.encode(ChatTemplate.of_folder(folder).render(conversation(prompt)))


def read(tokens: PromptTokens | None, endpoint: str = CHAT, **fields: Any) -> Prompt:
    body = json.dumps({"model": "cat", **fields}).encode()
    return read_prompt(body, endpoint=endpoint, page_size=PAGE, tokens=tokens)


CHATS: dict[str, list[dict[str, Any]]] = {
    "plain": [SYSTEM, {"role": "user", "content": "Cat?"}],
    "nothing said": [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}],
    "no content": [{"role": "assistant"}, {"role": "user", "content": "a"}],
    "parts": [
        {"role": "user", "content": [{"type": "text", "text": "the "}, {"text": "cat", "x": 1}]}
    ],
    "special tokens": [{"role": "user", "content": f"{BOS}the cat{BOS}<|endoftext|>"}],
    "beyond ASCII": [{"role": "user", "content": "Καλημέρα 🐈‍⬛ e\u0301"}],
}


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
def test_a_conversation_has_the_tokens_and_pages_of_its_worker(
    folder: Path, chat: list[dict[str, Any]]
) -> None:
    tokens, expected = PromptTokens(folder), by_worker(folder, chat)
    assert tokens.of_chat(chat) == token_key(expected, 1)
    bos = bos_of(folder)
    assert expected[0] == bos
    assert bos not in expected[1:] or BOS in str(chat), "the template alone writes it"
    prompt = read(tokens, messages=chat)
    assert (prompt.key, prompt.n_tokens) == (chained_key(expected, PAGE), len(expected))


@pytest.mark.parametrize("text", [WORDS, "", "a", f"{BOS}a", "Καλημέρα"])
def test_a_text_has_the_tokens_of_its_worker_and_what_stands_before_a_prompt(
    folder: Path, text: str
) -> None:
    expected = by_worker(folder, text)
    assert expected[0] == bos_of(folder)
    assert PromptTokens(folder).of_text(text) == token_key(expected, 1)
    prompt = read(PromptTokens(folder), TEXT, prompt=text)
    assert (prompt.key, prompt.n_tokens) == (chained_key(expected, PAGE), len(expected))


def test_token_ids_are_the_workers_already(folder: Path) -> None:
    ids = list(range(20))
    prompt = read(PromptTokens(folder), TEXT, prompt=ids)
    assert (prompt.key, prompt.n_tokens) == (chained_key(ids, PAGE), 20)


def test_what_a_file_says_of_batches_neither_cuts_nor_fills_up_prompts(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "padded")
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.enable_padding(length=64)
    backend.enable_truncation(32)
    backend.save(str(folder / "tokenizer.json"))
    tokens = PromptTokens(folder)
    for text in ("the cat", WORDS * 9):
        assert tokens.of_text(text) == token_key(by_worker(folder, text), 1)
    assert tokens.of_chat([SYSTEM]) == token_key(by_worker(folder, [SYSTEM]), 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [SYSTEM, {"role": "user", "content": [{"type": "image_url", "x": "y"}]}]},
        {"messages": [SYSTEM, {"role": "user", "content": 7}]},
        {"messages": [SYSTEM, {"role": "user", "content": "refuse"}]},
        {"messages": [SYSTEM, "no message"]},
        {"messages": [SYSTEM], "tools": [{"type": "function", "function": {"name": "f"}}]},
    ],
    ids=["picture", "number", "refused", "malformed", "tools"],
)
def test_a_prompt_whose_tokens_cannot_be_told_is_hashed_as_text(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    template = "{% if 'refuse' in messages | string %}{{ raise_exception('no') }}{% endif %}x"
    tokens = PromptTokens(save_tiny(tmp_path / "strict", template))
    assert read(tokens, **fields) == read(None, **fields)
    other = {**fields, "tools": [{"type": "function", "function": {"name": "g"}}]}
    assert read(tokens, **fields).key[:8] != read(tokens, **other).key[:8], "no page in common"


def test_no_tools_are_none(folder: Path) -> None:
    tokens = PromptTokens(folder)
    plain = read(tokens, messages=[SYSTEM])
    assert read(tokens, messages=[SYSTEM], tools=[]).key == plain.key
    assert read(tokens, messages=[SYSTEM], tools=None).key == plain.key


def test_what_a_tokenizer_cannot_do_is_a_value_error(folder: Path) -> None:
    class Broken:
        def encode_batch_fast(self, *_: Any, **__: Any) -> None:
            raise Exception("no unknown token")  # as the library does

    tokens = PromptTokens(folder)
    tokens._tokenizer = Broken()
    with pytest.raises(ValueError, match="there are no tokens for the prompt: no unknown token"):
        tokens.of_text("a")
    assert read(tokens, TEXT, prompt=WORDS) == read(None, TEXT, prompt=WORDS)


def test_a_folder_without_a_tokenizer_or_with_a_broken_one_is_refused(
    tmp_path: Path, folder: Path
) -> None:
    with pytest.raises(ValueError, match=r"expected a tokenizer\.json in"):
        PromptTokens(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="is no tokenizer"):
        PromptTokens(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{% if %}"}')
    with pytest.raises(ValueError, match="no valid Jinja"):
        PromptTokens(tmp_path)


def test_others_go_on_while_a_long_prompt_is_tokenized(folder: Path) -> None:
    tokens, text = PromptTokens(folder), WORDS * 20_000
    seconds: list[float] = []
    done = threading.Event()

    def tokenize() -> None:
        began = time.perf_counter()
        tokens.of_text(text)
        seconds.append(time.perf_counter() - began)
        done.set()

    thread = threading.Thread(target=tokenize)
    thread.start()
    n_turns = 0
    while not done.wait(0.001):
        n_turns += 1
    thread.join()
    assert n_turns > 10, f"of {seconds[0]:.1f} s"


# Both sides, each in a process of its own.


async def get(process: Process, target: str) -> Any:
    origin = Origin(process.url)
    try:
        answer = await fetch(origin, "GET", target, seconds=30.0)
    finally:
        origin.close()
    return json.loads(answer.body)


async def workers(process: Process) -> dict[str, dict[str, Any]]:
    status = await get(process, "/admin/status")
    return {worker["name"]: worker for worker in status["workers"]}


async def ready(process: Process, n: int) -> None:
    async with asyncio.timeout(60.0):
        while [w["state"] for w in (await workers(process)).values()] != ["ready"] * n:
            await asyncio.sleep(0.05)


def children(pid: int) -> set[int]:
    """Return the processes that a process has started and that are not over."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.add(int(path.parent.name))
    return found


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_checkpoint_is_served_by_workers_that_share_prefixes_and_are_replaced(
    folder: Path,
) -> None:
    async def run() -> None:
        given = ("--model", str(folder), "--workers", "2", "--threads", "1", "--device", "cpu")
        async with running(*given, "--cache-tokens", "20000") as process:
            await ready(process, 2)
            pid = process.process.pid
            before = children(pid)
            assert len(before) == 2
            async with openai.AsyncOpenAI(
                base_url=f"{process.url}/v1", api_key="none", max_retries=0, timeout=60.0
            ) as client:
                await use(client)
                victim = min(before)
                os.kill(victim, signal.SIGKILL)
                await until(lambda: len(children(pid) - {victim}) == 2, 60.0)
                for n in range(4):
                    assert await asked(client, f"meanwhile {n}") is not None
                await ready(process, 2)
                assert await asked(client, "after") is not None
            after = children(pid)
            process.signal()
            status, said = await process.ended()
            assert status == 0
            assert "ended with status -9; starting it again" in said
            assert "huggingface" not in said, "no fork after threads"
            assert not any(map(is_alive, before | after))

    asyncio.run(run())


async def asked(client: openai.AsyncOpenAI, text: str, **fields: Any) -> Any:
    return await client.chat.completions.create(
        model="cat",
        messages=[SYSTEM, {"role": "user", "content": text}],  # type: ignore[list-item]
        max_tokens=4,
        temperature=0,
        **fields,
    )


async def use(client: openai.AsyncOpenAI) -> None:
    """Ask for the same beginning again and again; after the first time it is in a cache."""
    explained = {"extra_headers": {"x-triskele-explain": "1"}}
    raw = client.chat.completions.with_raw_response
    names = []
    for n in range(4):
        answer = await raw.create(
            model="cat",
            messages=[SYSTEM, {"role": "user", "content": f"number {n}"}],
            max_tokens=4,
            **explained,  # type: ignore[arg-type]
        )
        names.append(answer.headers["x-triskele-worker"])
        usage = answer.parse().usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        n_cached = usage.prompt_tokens_details.cached_tokens
        assert n_cached is not None
        assert (n_cached > 100) == (n > 0), names
        assert n_cached % 16 == 0
    assert len(set(names)) == 1, "LBGR knows who has the prefix"
    stream = await asked(client, "s", stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens > 100
    assert chunks[-2].choices[0].finish_reason in ("length", "stop")
    text = await client.completions.create(model="cat", prompt=WORDS, max_tokens=1)
    assert text.usage is not None
    assert text.usage.completion_tokens == 1
