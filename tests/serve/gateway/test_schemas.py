import pytest
from jsonschema import Draft202012Validator

from triskele.serve.gateway.openapi import openapi
from triskele.serve.gateway.schemas import administration, answers, requests
from triskele.serve.routing.named import ROUTERS

PAGE = openapi("1.2.3")
USER = {"role": "user", "content": "Hi"}


def accepts(schema: str, value: object) -> bool:
    root = {"$ref": f"#/components/schemas/{schema}", "components": PAGE["components"]}
    return bool(Draft202012Validator(root).is_valid(value))


def test_every_shape_has_a_name_of_its_own_and_is_valid() -> None:
    parts = (requests(), answers(), administration())
    names = [name for part in parts for name in part]
    assert len(names) == len(set(names))
    for part in parts:
        for schema in part.values():
            Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ("ChatRequest", {"model": "m", "messages": [USER]}),
        ("ChatRequest", {"messages": [USER]}),
        ("ChatRequest", {"model": "m", "messages": [USER], "stream": True, "seed": 1}),
        ("ChatRequest", {"model": "m", "messages": [USER], "max_tokens": None}),
        ("ChatRequest", {"model": None, "messages": [USER], "max_tokens": 0}),
        ("ChatRequest", {"model": "m", "messages": [USER | {"content": [{"type": "text"}]}]}),
        ("CompletionRequest", {"model": "m", "prompt": ""}),
        ("CompletionRequest", {"model": "m", "prompt": ["a", "b"]}),
        ("CompletionRequest", {"model": "m", "prompt": [1, 2]}),
        ("CompletionRequest", {"model": "m", "prompt": [[1], [2, 3]]}),
        ("EmbeddingRequest", {"model": "m", "input": "a"}),
        ("FeedbackRequest", {"id": "r-1", "score": 0}),
        ("FeedbackRequest", {"id": "r-1", "score": 0.5, "better_than": None, "comment": "good"}),
        ("FeedbackRequest", {"id": "r-1", "better_than": "r-2", "score": None}),
        ("AddWorkerRequest", {"url": "http://10.0.0.5:8000"}),
        ("AddWorkerRequest", {"url": "https://a.example", "name": "10.0.0.5:8000"}),
        ("AddWorkerRequest", {"url": "https://a.example", "name": None}),
        *(("PolicyRequest", {"policy": name}) for name in ROUTERS),
    ],
)
def test_what_clients_send_is_described(schema: str, value: object) -> None:
    assert accepts(schema, value)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ("ChatRequest", []),
        ("ChatRequest", {"model": "", "messages": [USER]}),
        ("CompletionRequest", {"model": 7, "prompt": "x"}),
        ("CompletionRequest", {"user": 7, "prompt": "x"}),
        ("EmbeddingRequest", {"model": ["m"], "input": "x"}),
        ("ChatRequest", {"model": "m", "messages": [USER], "stream": "yes"}),
        ("ChatRequest", {"model": "m", "messages": [USER], "max_tokens": 1.5}),
        ("FeedbackRequest", {"id": "r-1"}),
        ("FeedbackRequest", {"id": "r-1", "comment": "good"}),
        ("FeedbackRequest", {"id": "r-1", "score": None, "better_than": None}),
        ("FeedbackRequest", {"id": "", "score": 1}),
        ("FeedbackRequest", {"id": "r-1", "score": 1.5}),
        ("FeedbackRequest", {"id": "r-1", "score": 1, "source": "root"}),
        ("AddWorkerRequest", {"url": "file:///etc/passwd"}),
        ("AddWorkerRequest", {"url": "http://a", "name": ".."}),
        ("AddWorkerRequest", {"url": "http://a", "name": "a/b"}),
        ("AddWorkerRequest", {"url": "http://a", "weight": 2}),
        ("PolicyRequest", {"policy": "best"}),
    ],
)
def test_what_is_refused_is_described(schema: str, value: object) -> None:
    assert not accepts(schema, value)
