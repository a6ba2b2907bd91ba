import msgspec
import pytest
import zmq
from tests.serve.engine.models import drain, tiny_engine

from triskele.serve.cache import chained_key, hash_key, token_key
from triskele.serve.engine import SamplingParams
from triskele.serve.engine.changes import Removed, Stored
from triskele.serve.engine.kv_events import (
    BlockRemoved,
    BlockStored,
    EventBatch,
    EventPublisher,
    PageNames,
)


def test_pages_are_named_by_the_hash_of_all_before_them() -> None:
    names = PageNames(2)
    key = token_key([1, 2, 3, 4, 5, 6], 2)
    first, second, gone = names.events(
        [Stored(key[:8], [7], 0), Stored(key, [7, 8, 9], 1), Removed([9])]
    )
    assert isinstance(first, BlockStored)
    assert isinstance(second, BlockStored)
    assert first.parent_block_hash is None
    assert second.parent_block_hash == first.block_hashes[0]
    assert second.token_ids == [3, 4, 5, 6]
    assert hash_key(first.block_hashes + second.block_hashes) == chained_key([1, 2, 3, 4, 5, 6], 2)
    assert gone == BlockRemoved([second.block_hashes[1]])


def test_the_events_of_an_engine_add_up_to_its_cache() -> None:
    engine = tiny_engine(n_pages=9, tells=True)
    names, held = PageNames(4), set()
    for n in range(20):
        engine.add(str(n), [n % 3] * (n % 9 + 4), SamplingParams(temperature=0, max_tokens=9))
        drain(engine)
        for event in names.events(engine.changes()):
            if isinstance(event, BlockStored):
                assert held.isdisjoint(event.block_hashes)
                held.update(event.block_hashes)
            elif isinstance(event, BlockRemoved):
                assert held.issuperset(event.block_hashes)
                held.difference_update(event.block_hashes)
        assert len(held) == engine.cache.n_pages


def test_a_subscriber_reads_numbered_batches() -> None:
    publisher = EventPublisher("tcp://127.0.0.1:*", page_size=2, topic="kv", now=lambda: 12.5)
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    try:
        socket.setsockopt(zmq.RCVTIMEO, 10_000)
        socket.subscribe("kv")
        socket.connect(publisher.endpoint)
        # Until the subscription has arrived, messages are lost.
        number = -1
        while not socket.poll(50):
            publisher.publish([])
        while socket.poll(200):
            _, sent, _ = socket.recv_multipart()
            number = int.from_bytes(sent, "big")
        publisher.publish([Stored(token_key([1, 2], 2), [7], 0)])
        topic, sent, payload = socket.recv_multipart()
        assert (topic, int.from_bytes(sent, "big")) == (b"kv", number + 1)
        (hashed,) = msgspec.json.decode(
            msgspec.json.encode(msgspec.msgpack.decode(payload)[1][0][1])
        )
        assert msgspec.msgpack.decode(payload) == [
            12.5,
            [["BlockStored", [hashed], None, [1, 2], 2, None, "GPU"]],
            None,
        ]
        assert msgspec.msgpack.decode(payload, type=EventBatch).events[0].block_hashes == [hashed]
    finally:
        socket.close(0)
        context.term()
        publisher.close()


def test_an_endpoint_that_cannot_be_bound_is_named() -> None:
    with pytest.raises(OSError, match=r"cannot bind tcp://256\.0\.0\.1:1"):
        EventPublisher("tcp://256.0.0.1:1", page_size=2)
