"""What the engine's command is asked to serve.

The command line is derived from this class: a field's name is its option, its docstring the help,
its default the default. Nothing here knows of tensors or sockets.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Serve one model over OpenAI's HTTP API, from one process.

    Prints one line of JSON with the port once requests are taken, and serves until SIGTERM. For
    several workers and a gateway before them, see triskele serve.

    A checkpoint of Llama, Mistral, Qwen2 or Qwen3:

      python -m triskele.serve.engine --model DIR --port 8000

    A model with random weights, to measure with:

      python -m triskele.serve.engine --random small
    """

    model: Path | None = None
    """Folder of a checkpoint: config.json, safetensors, tokenizer.json."""
    random: str | None = None
    """Instead of --model: random weights over bytes, of a size by name (tiny, small, medium, 0.5b,
    1b) or of a config.json."""
    served_name: str | None = None
    """The model's name towards clients; the folder's name, or the size, if not given."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 0
    """Port to listen on; 0 takes a free one."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: cuda where there is one."""
    dtype: str = "auto"
    """float32, bfloat16, float16, or auto: as stored on a GPU, float32 on a CPU."""
    n_pages: int | None = None
    """Pages of the key-value cache; as many as fit --memory if not given."""
    memory: float | None = None
    """GiB for the key-value cache; 1 on a CPU, four fifths of what the weights leave on a GPU, if
    not given."""
    page_size: int = 16
    """Tokens per page."""
    eviction: str = "lru"
    """What a full cache drops: lru, lfu, slru, fifo, sieve, rlt (randomized leaf-token), gittins
    (informed by reuse), random."""
    max_running: int = 64
    """Most sequences that run at once."""
    max_batch_tokens: int = 2048
    """Most tokens computed in one step."""
    max_waiting: int = 1024
    """Most sequences open at once; beyond it requests are answered with 429."""
    threads: int = 1
    """Threads that compute, on a CPU."""
    cpu_share: float = 1.0
    """Share of a processor that computing takes at most, on a CPU with one thread: after each step
    the engine rests. Leaves room for others, and is equally fast whether they use it or not."""
    seed: int = 0
    """Seed of requests that bring none, of policies that draw, and of random weights."""
    kv_events: str | None = None
    """Where to publish what the cache holds, in vLLM's format, as tcp://127.0.0.1:5557."""
    steps: Path | None = None
    """File to write every step to, what it computed and how long it took, as CSV: what triskele
    simulate takes as --hardware."""
    follow_stdin: bool = False
    """Stop as after SIGTERM when standard input ends, as it does with the process that started
    this one."""
    drain_seconds: float = 30.0
    """How long requests under way may take to finish after SIGTERM."""
