import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from tests.serve.gateway.fake_admin import FakeAdmin, error, fleet, traffic, worker

from triskele.serve.gateway.openapi import openapi

PAGE = openapi("1.2.3")
PATHS = {
    "/v1/chat/completions": {"post"},
    "/v1/completions": {"post"},
    "/v1/embeddings": {"post"},
    "/v1/feedback": {"post"},
    "/v1/models": {"get"},
    "/v1/models/{name}": {"get"},
    "/health": {"get"},
    "/ready": {"get"},
    "/metrics": {"get"},
    "/openapi.json": {"get"},
    "/admin/status": {"get"},
    "/admin/workers": {"get", "post"},
    "/admin/workers/{name}": {"delete"},
    "/admin/workers/{name}/drain": {"post"},
    "/admin/workers/{name}/resume": {"post"},
    "/admin/policy": {"put"},
}
USER = {"role": "user", "content": "Hi"}


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in PAGE["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, operation


def accepts(schema: str, value: object) -> bool:
    root = {"$ref": f"#/components/schemas/{schema}", "components": PAGE["components"]}
    return bool(Draft202012Validator(root).is_valid(value))


def test_the_page_is_valid_openapi_and_json() -> None:
    validate(PAGE)
    assert json.loads(json.dumps(PAGE)) == PAGE
    assert PAGE["info"]["version"] == "1.2.3"


def test_every_path_is_there_with_its_methods() -> None:
    methods = {path: set(item) - {"parameters"} for path, item in PAGE["paths"].items()}
    assert methods == PATHS


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for _, operation in operations()]
    assert len(names) == len(set(names))


def test_every_schema_and_every_refusal_is_used() -> None:
    text = json.dumps(PAGE)
    for room in ("schemas", "responses", "parameters"):
        for name in PAGE["components"][room]:
            assert f'"#/components/{room}/{name}"' in text, (room, name)


def test_a_path_refuses_what_it_takes() -> None:
    for path, operation in operations():
        statuses = set(operation["responses"])
        assert statuses >= {"400", "405", "408", "413", "431", "503"}, path
        is_admin = path.startswith("/admin")
        assert ("415" in statuses) == ("requestBody" in operation and is_admin), path
        assert ("404" in statuses) == ("{name}" in path or ("v1" in path and "models" not in path))
        assert ("403" in statuses) == is_admin, path
        needs_key = path.startswith("/v1") or is_admin
        assert ("401" in statuses) == needs_key, path
        if needs_key:
            assert {} in operation["security"], "a key may not have been asked for"
    answered = set(PAGE["paths"]["/v1/chat/completions"]["post"]["responses"])
    assert answered >= {"200", "422", "429", "502", "503", "504", "default"}
    assert "201" in PAGE["paths"]["/admin/workers"]["post"]["responses"]


def test_refusals_tell_when_to_come_back() -> None:
    refusals = PAGE["components"]["responses"]
    assert "Retry-After" in refusals["429"]["headers"]
    assert "Retry-After" in refusals["503"]["headers"]
    assert "Allow" in refusals["405"]["headers"]
    assert accepts("Error", error("no"))
    assert not accepts("Error", {"detail": "no"})


def test_the_dashboards_status_is_as_described() -> None:
    busy = FakeAdmin(fleet(), traffic(["atlas-0"]))
    assert accepts("Status", busy.status())
    assert accepts("Status", FakeAdmin().status())
    assert accepts("Status", FakeAdmin().status() | {"ttft": None}), "when there are none"
    assert not accepts("Status", FakeAdmin([worker("w", state="asleep")]).status())
    assert not accepts("Status", {"policy": "lbgr"})
