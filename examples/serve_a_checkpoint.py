"""Serve a checkpoint over OpenAI's API and ask it something: one process, CPU, a few seconds.

    python examples/serve_a_checkpoint.py [FOLDER]

Without an argument the checkpoint is made on the spot, from random weights, and talks accordingly.
"""

import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import torch

from triskele.model import ModelConfig, Transformer, save_checkpoint, train_tokenizer


def make_checkpoint(folder: Path) -> Path:
    """Save a model that has learned nothing yet."""
    tokenizer = train_tokenizer([Path(__file__).read_text(encoding="utf-8")], vocab_size=400)
    shape = ModelConfig(vocab_size=400, d_model=64, n_layers=2, n_heads=4, max_seq_len=512)
    model = Transformer(shape, generator=torch.Generator().manual_seed(0))
    save_checkpoint(model, folder, tokenizer=tokenizer)
    return folder


def ask(port: int, question: str) -> None:
    """Send a conversation, and show the answer and what the cache had of the question."""
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": 24, "seed": 1}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(body).encode()
    )
    with urllib.request.urlopen(request) as reply:
        answer = json.load(reply)
    usage = answer["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    print(f"{question!r}: {usage['prompt_tokens']} tokens, {cached} of them cached")
    print(f"    {answer['choices'][0]['message']['content']!r}")


with tempfile.TemporaryDirectory() as temporary:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else make_checkpoint(Path(temporary) / "model")
    command = [sys.executable, "-m", "triskele.serve.engine", "--model", str(folder)]
    with subprocess.Popen([*command, "--eviction", "rlt"], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        ready = json.loads(worker.stdout.readline())
        print(f"serving {ready['model']} on port {ready['port']}, {ready['n_pages']} pages")
        long = "Make the checkpoint, serve the model, ask it a question"
        ask(ready["port"], f"{long}: what then?")
        ask(ready["port"], f"{long}: and what then?")
        worker.terminate()
