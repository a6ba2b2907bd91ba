"""What is in ``deploy`` agrees with itself, with the command line and with what is measured."""

import re
import shlex
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from tests.command_lines import understood
from tests.serve.gateway.test_overview import Setting

from triskele import __version__
from triskele.serve.gateway.administration import is_allowed
from triskele.serve.gateway.health import State
from triskele.serve.gateway.keys import parse_keys
from triskele.serve.gateway.metrics import Metrics
from triskele.serve.gateway.openapi import openapi
from triskele.serve.launch.front import ADMIN_TOKEN, _secret
from triskele.serve.launch.options import ServeConfig

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
STATELESS, WITH_JOURNAL = DEPLOY / "kubernetes", DEPLOY / "kubernetes-journal"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
Manifest = dict[str, Any]


def documents(path: Path) -> list[Manifest]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def named(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


def manifests() -> dict[tuple[str, str], Manifest]:
    """Return what the stateless form applies, by kind and name."""
    kustomization = documents(STATELESS / "kustomization.yaml")[0]
    found = [each for file in kustomization["resources"] for each in documents(STATELESS / file)]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def pod(manifest: Manifest) -> Manifest:
    template: Manifest = manifest["spec"]["template"]
    return template


def gateway() -> Manifest:
    container: Manifest = pod(manifests()["Deployment", "triskele"])["spec"]["containers"][0]
    return container


def directives(path: Path) -> dict[str, list[str]]:
    """Return a unit's settings, each with all its values."""
    found: dict[str, list[str]] = defaultdict(list)
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.startswith(("#", "[")):
            key, equals, value = line.partition("=")
            assert equals, line
            found[key].append(value)
    return found


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=named)
def test_every_manifest_is_yaml(path: Path) -> None:
    assert documents(path)


@pytest.mark.parametrize("folder", [STATELESS, WITH_JOURNAL], ids=named)
def test_a_kustomization_names_files_that_exist_and_this_version(folder: Path) -> None:
    kustomization = documents(folder / "kustomization.yaml")[0]
    patches = [each["path"] for each in kustomization.get("patches", ()) if "path" in each]
    for name in [*kustomization["resources"], *patches]:
        assert (folder / name).exists(), name
    assert kustomization["images"] == [{"name": "triskele", "newTag": __version__}]


def test_the_gateway_understands_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    config = understood(["triskele", *gateway()["args"]], monkeypatch)
    assert isinstance(config, ServeConfig)
    assert config.port == gateway()["ports"][0]["containerPort"]


def test_with_a_journal_gateway_and_loop_mean_the_same_folders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patches = documents(WITH_JOURNAL / "kustomization.yaml")[0]["patches"]
    added = [
        operation["value"]
        for each in patches
        if each.get("target", {}).get("kind") == "Deployment"
        for operation in yaml.safe_load(each["patch"])
    ]
    config: Any = understood(["triskele", *gateway()["args"], *added], monkeypatch)
    spec = documents(WITH_JOURNAL / "gateway.yaml")[0]["spec"]
    containers = {each["name"]: each for each in spec["template"]["spec"]["containers"]}
    loop: Any = understood(["triskele", *containers["loop"]["args"]], monkeypatch)
    assert loop.journal == config.gateway.journal
    assert loop.capability == config.choice.capability
    assert config.gateway.keep_text, "the loop learns from prompts"
    # A journal has one writer: one gateway, and never two for a moment.
    assert spec["replicas"] == 1
    assert spec["strategy"]["type"] == "Recreate"
    for container in containers.values():
        mounted = [Path(each["mountPath"]) for each in container["volumeMounts"]]
        for folder in (config.gateway.journal, config.gateway.learned, config.choice.capability):
            assert any(folder.is_relative_to(each) for each in mounted)


def test_selectors_find_what_they_are_for() -> None:
    found = manifests()
    labels = {
        name: pod(each)["metadata"]["labels"]
        for (kind, name), each in found.items()
        if kind in ("Deployment", "StatefulSet")
    }
    for kind in ("Deployment", "StatefulSet"):
        for (each, name), manifest in found.items():
            if each == kind:
                assert manifest["spec"]["selector"]["matchLabels"].items() <= labels[name].items()
    for name in ("triskele", "workers"):
        assert found["Service", name]["spec"]["selector"].items() <= labels[name].items()
        policy = found["NetworkPolicy", name]["spec"]
        assert policy["podSelector"]["matchLabels"].items() <= labels[name].items()
    budget = found["PodDisruptionBudget", "triskele"]["spec"]
    assert budget["selector"]["matchLabels"] == labels["triskele"]
    assert budget["minAvailable"] < found["Deployment", "triskele"]["spec"]["replicas"]
    into_workers = found["NetworkPolicy", "workers"]["spec"]["ingress"][0]["from"][0]
    assert into_workers["podSelector"]["matchLabels"] == labels["triskele"]
    to_workers = found["NetworkPolicy", "triskele"]["spec"]["egress"][0]["to"][0]
    assert to_workers["podSelector"]["matchLabels"] == labels["workers"]


def test_ports_go_by_names_that_containers_have() -> None:
    found = manifests()
    for service, (kind, name) in {
        "triskele": ("Deployment", "triskele"),
        "workers": ("StatefulSet", "workers"),
    }.items():
        ports = {each["name"] for each in pod(found[kind, name])["spec"]["containers"][0]["ports"]}
        assert {each["targetPort"] for each in found["Service", service]["spec"]["ports"]} <= ports
    (port,) = gateway()["ports"]
    into_gateway = found["NetworkPolicy", "triskele"]["spec"]["ingress"][0]["ports"]
    into_workers = found["NetworkPolicy", "workers"]["spec"]["ingress"][0]["ports"]
    to_workers = found["NetworkPolicy", "triskele"]["spec"]["egress"][0]["ports"]
    assert [each["port"] for each in into_gateway] == [port["name"]]
    assert [each["port"] for each in into_workers] == [each["port"] for each in to_workers]
    probes = ("startupProbe", "livenessProbe", "readinessProbe")
    asked = {probe: gateway()[probe]["httpGet"] for probe in probes}
    assert {each["port"] for each in asked.values()} == {"http"}
    assert {each["path"] for each in asked.values()} <= openapi(__version__)["paths"].keys()
    # A fleet that is away is no reason to kill its gateways.
    assert asked["livenessProbe"]["path"] == "/health"
    assert asked["readinessProbe"]["path"] == "/ready"


def test_the_gateway_asks_workers_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    config: Any = understood(["triskele", *gateway()["args"]], monkeypatch)
    workers = manifests()["StatefulSet", "workers"]
    spec, name = workers["spec"], workers["metadata"]["name"]
    hosts = {f"{name}-{number}.{spec['serviceName']}" for number in range(spec["replicas"])}
    assert {urlsplit(url).hostname for url in config.upstream} == hosts
    for url in [*config.upstream, f"http://{name}-9.{spec['serviceName']}:8000"]:
        assert is_allowed(url, config.gateway.allow_upstream)
    assert not is_allowed("http://elsewhere:8000", config.gateway.allow_upstream)


def test_kubernetes_waits_longer_than_a_drain_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    config: Any = understood(["triskele", *gateway()["args"]], monkeypatch)
    sleep = int(gateway()["lifecycle"]["preStop"]["exec"]["command"][1])
    grace = pod(manifests()["Deployment", "triskele"])["spec"]["terminationGracePeriodSeconds"]
    assert grace >= sleep + config.gateway.drain_seconds + 10


def test_the_gateway_has_no_rights_and_its_secrets_change_under_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = pod(manifests()["Deployment", "triskele"])["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    allowed = gateway()["securityContext"]
    assert allowed["readOnlyRootFilesystem"] is True
    assert allowed["allowPrivilegeEscalation"] is False
    assert allowed["capabilities"] == {"drop": ["ALL"]}
    (mount,) = gateway()["volumeMounts"]
    assert "subPath" not in mount
    config: Any = understood(["triskele", *gateway()["args"]], monkeypatch)
    for path in (config.gateway.keys, config.gateway.admin_token):
        assert path.parent == Path(mount["mountPath"])
    names = set(documents(STATELESS / "secret.example.yaml")[0]["stringData"])
    assert names == {config.gateway.keys.name, config.gateway.admin_token.name}


def test_the_example_of_a_secret_opens_nothing() -> None:
    secret = documents(STATELESS / "secret.example.yaml")[0]["stringData"]
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        parse_keys(secret["keys"], source="keys")
    with pytest.raises(ValueError, match="one word"):
        _secret(None, secret["admin-token"], ADMIN_TOKEN)
    assert "secret.example.yaml" not in documents(STATELESS / "kustomization.yaml")[0]["resources"]


@pytest.mark.parametrize("path", UNITS, ids=named)
def test_a_unit_runs_what_the_command_line_understands(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = directives(path)
    (command,) = unit["ExecStart"]
    options = directives(DEPLOY / "systemd" / "triskele.conf")["OPTIONS"][0]
    command = command.replace("$OPTIONS", options).replace("${CREDENTIALS_DIRECTORY}", "/run/x")
    words = shlex.split(command)
    assert words[0].endswith("/bin/triskele")
    config: Any = understood(["triskele", *words[1:]], monkeypatch)
    written = [word for word in words if word.startswith("/var/lib/")]
    assert all(Path(word).is_relative_to("/var/lib/triskele") for word in written)
    assert unit["StateDirectory"] == ["triskele"]
    if isinstance(config, ServeConfig):
        assert int(unit["TimeoutStopSec"][0]) >= config.gateway.drain_seconds + 10


@pytest.mark.parametrize("path", UNITS, ids=named)
def test_a_unit_says_each_thing_once(path: Path) -> None:
    repeated = {key for key, values in directives(path).items() if len(values) > 1}
    assert repeated <= {"SystemCallFilter"}


def test_the_image_is_made_of_files_that_exist_and_starts_our_command() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    assert f"triskele:{__version__}" in text
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source.removeprefix('./')}" in ignored, source
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (entry,) = re.findall(r'^ENTRYPOINT \["(.+)"\]$', text, re.MULTILINE)
    assert entry in project["scripts"]
    for extra in re.findall(r'"\.\[(.+?)\]"', text):
        assert extra in project["optional-dependencies"]


def test_alerts_are_about_figures_and_states_that_there_are() -> None:
    it = Setting()
    page = Metrics(it.fleet, it.admission, it.statistics, n_dropped=lambda: 0).text().decode()
    # Of what has not happened yet, the page has only the names of families.
    known = set(re.findall(r"^(?:# TYPE )?(triskele_\w+)", page, re.MULTILINE))
    (group,) = documents(DEPLOY / "prometheus" / "alerts.yaml")[0]["groups"]
    assert len(group["rules"]) >= 5
    for rule in group["rules"]:
        used = set(re.findall(r"triskele_\w+", rule["expr"]))
        assert used <= known, rule["alert"]
        for states in re.findall(r'state=~?"([^"]+)"', rule["expr"]):
            assert set(states.split("|")) <= {state.value for state in State}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
    explained = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(Triskele\w+)` \|", explained, re.MULTILINE)
    assert rows == [rule["alert"] for rule in group["rules"]]
