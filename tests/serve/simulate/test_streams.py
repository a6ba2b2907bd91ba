from itertools import product

from triskele.serve.simulate.streams import Purpose, stream


def test_a_stream_is_a_function_of_seed_purpose_and_place() -> None:
    assert stream(3, Purpose.THINK, 5).random() == stream(3, Purpose.THINK, 5).random()


def test_no_two_streams_are_equal() -> None:
    firsts = [
        stream(seed, purpose, *place).random()
        for seed, purpose, place in product((0, 1, 2**40), Purpose, ((), (0,), (1,), (0, 1)))
    ]
    assert len(set(firsts)) == len(firsts)
