"""The gateways that are compared: how each is installed, started, and set to its best.

Every peer routes by prefix where it can, as ours does; logs are off as far as they can be. What
"prompt" adds is for the probe of a worker that comes back: health checks every second.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gateways.environments import PLACE, environment
from benchmarks.gateways.processes import Process, free_port, wait_until_answers

LOGS = PLACE / "logs"
READY_SECONDS = 120.0
HELLO = {"model": "mock", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
PROMPT = (
    "--health-check-interval-secs=1",
    "--health-failure-threshold=1",
    "--health-success-threshold=1",
    "--cb-timeout-duration-secs=1",
)


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway.

    ``command`` is given the folder of its environment's programs, the workers' URLs and a port.
    """

    name: str
    requirements: tuple[str, ...]
    command: Callable[[Path, Sequence[str], int], list[str]]
    prompt: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)


class Gateway(Process):
    """A gateway that runs before workers."""

    def __init__(self, peer: Peer, workers: Sequence[str], *, prompt: bool = False) -> None:
        programs = Path(sys.executable).parent
        if peer.requirements:
            programs = environment(peer.name.partition(",")[0], peer.requirements)
        port = free_port()
        super().__init__(
            peer.command(programs, workers, port) + list(peer.prompt if prompt else ()),
            LOGS / f"{peer.name.replace(', ', '-').replace(' ', '-')}.log",
            environment=peer.variables,
            speaks=not peer.requirements,
        )
        if not peer.requirements:
            port = self.first_line()["port"]
        self.url = f"http://127.0.0.1:{port}"
        try:
            wait_until_answers(f"{self.url}/v1/chat/completions", HELLO, self, READY_SECONDS)
        except RuntimeError:
            self.stop()
            raise


def _ours(programs: Path, workers: Sequence[str], port: int) -> list[str]:
    upstreams = [option for url in workers for option in ("--upstream", url)]
    return [str(programs / "python"), "-m", "triskele.serve", "--port", str(port), *upstreams]


def _sglang(policy: str) -> Callable[[Path, Sequence[str], int], list[str]]:
    def command(programs: Path, workers: Sequence[str], port: int) -> list[str]:
        start = [str(programs / "python"), "-m", "sglang_router.launch_router"]
        return start + _options(workers, port, policy, "warn")

    return command


def _smg(programs: Path, workers: Sequence[str], port: int) -> list[str]:
    return [str(programs / "smg"), "launch", *_options(workers, port, "cache_aware", "warn")]


def _vllm(policy: str) -> Callable[[Path, Sequence[str], int], list[str]]:
    def command(programs: Path, workers: Sequence[str], port: int) -> list[str]:
        return [str(programs / "vllm-router"), *_options(workers, port, policy, "warning")]

    return command


def _options(workers: Sequence[str], port: int, policy: str, level: str) -> list[str]:
    return [
        "--host=127.0.0.1",
        f"--port={port}",
        f"--policy={policy}",
        "--prometheus-host=127.0.0.1",
        f"--prometheus-port={free_port()}",
        f"--log-level={level}",
        "--worker-urls",
        *workers,
    ]


def _litellm(programs: Path, workers: Sequence[str], port: int) -> list[str]:
    deployments = [
        {
            "model_name": "mock",
            "litellm_params": {"model": "openai/mock", "api_base": f"{url}/v1", "api_key": "none"},
        }
        for url in workers
    ]
    settings = {
        "model_list": deployments,
        "general_settings": {"cancel_on_disconnect": True},
        "router_settings": {
            "routing_strategy": "simple-shuffle",
            "num_retries": 3,
            "allowed_fails": 0,
            "cooldown_time": 1,
        },
    }
    # JSON is YAML.
    path = PLACE / f"litellm-{port}.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    program = str(programs / "litellm")
    return [program, "--config", str(path), "--host=127.0.0.1", f"--port={port}", "--num_workers=1"]


OURS = Peer("triskele", (), _ours)
SGLANG = ("sglang-router==0.3.2",)
VLLM = ("vllm-router==0.1.17",)
RIVALS = (
    Peer("sglang-router", SGLANG, _sglang("cache_aware"), PROMPT),
    Peer("sglang-router, round robin", SGLANG, _sglang("round_robin"), PROMPT),
    Peer("smg", ("smg==1.13.0",), _smg, PROMPT),
    Peer("vllm-router", VLLM, _vllm("cache_aware"), PROMPT),
    Peer("vllm-router, round robin", VLLM, _vllm("round_robin"), PROMPT),
    Peer(
        "litellm",
        ("litellm[proxy]==1.106.2",),
        _litellm,
        variables={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            # As the others: no keys, on the loopback interface.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        },
    ),
)
