"""The command in a process of its own: a checkpoint, a port, a signal."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from triskele.model import ModelConfig, Transformer, generate, save_checkpoint, train_tokenizer
from triskele.serve.http import Origin, fetch

SHAPE = ModelConfig(vocab_size=300, d_model=32, n_layers=2, n_heads=4, max_seq_len=128)
TOKENIZER = train_tokenizer(
    ["the cat sat on the mat and the dog sat on the cat"] * 3, vocab_size=280
)


@contextmanager
def command(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Start the command and read its first line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "triskele.serve.engine", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, json.loads(line)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def post(port: int, path: str, **fields: Any) -> Any:
    async def main() -> Any:
        origin = Origin(f"http://127.0.0.1:{port}")
        try:
            answer = await fetch(origin, "POST", path, body=json.dumps(fields).encode())
        finally:
            origin.close()
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    return asyncio.run(main())


def test_a_checkpoint_is_served_until_it_is_asked_to_stop(tmp_path: Path) -> None:
    model = Transformer(SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    save_checkpoint(model, tmp_path / "cat", tokenizer=TOKENIZER)
    options = ["--n-pages", "40", "--page-size", "4", "--device", "cpu", "--eviction", "rlt"]
    folder = str(tmp_path / "cat")
    with command("--model", folder, *options, "--kv-events", "tcp://127.0.0.1:*") as started:
        process, told = started
        assert (told["model"], told["n_pages"], told["page_size"]) == ("cat", 40, 4)
        assert told["kv_events"].startswith("tcp://127.0.0.1:")
        asked = {"prompt": "the dog sat", "temperature": 0, "max_tokens": 12, "ignore_eos": True}
        body = post(told["port"], "/v1/completions", **asked)
        prompt = torch.tensor(TOKENIZER.encode("the dog sat"))
        expected = generate(model, prompt, n_tokens=12, temperature=0)[len(prompt) :]
        assert body["choices"][0]["text"] == TOKENIZER.decode(expected.tolist())
        body = post(
            told["port"],
            "/v1/chat/completions",
            messages=[{"role": "user", "content": "cat?"}],
            max_tokens=3,
        )
        assert body["usage"]["completion_tokens"] <= 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_steps_are_written_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    options = ["--random", "tiny", "--n-pages", "40", "--steps", str(path), "--cpu-share", "0.5"]
    with command(*options) as (process, told):
        post(told["port"], "/v1/completions", prompt=[1] * 20, max_tokens=3, ignore_eos=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    lines = path.read_text().splitlines()
    assert [line.rpartition(",")[0] for line in lines[1:]] == ["20,200.0,0", "1,0.0,20", "1,0.0,21"]


def test_a_worker_may_end_with_the_process_that_started_it() -> None:
    with command("--random", "tiny", "--n-pages", "40", "--follow-stdin") as (process, told):
        assert told["model"] == "random-tiny"
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
        process.stdin = None


def test_what_cannot_be_served_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "triskele.serve.engine", "--model", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("triskele.serve.engine: expected a tokenizer.json")
