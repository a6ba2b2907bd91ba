"""How long answers get, by class of prompt: averages that forget."""

N_KINDS = 4096


class AnswerLengths:
    """Expected tokens of an answer, by class of prompt; of classes, the last ``N_KINDS`` seen.

    Parameters
    ----------
    default
        Before any answer has been seen.
    weight
        Weight of one more answer of a class that has been seen often.
    """

    def __init__(self, *, default: float = 128.0, weight: float = 0.05) -> None:
        self._default, self._weight = default, weight
        self._means: dict[str, tuple[int, float]] = {}

    def expect(self, kind: str) -> float:
        """Return the expected length of an answer to a prompt of a class."""
        known = self._means.get(kind)
        return self._default if known is None else known[1]

    def observe(self, kind: str, n_output: int) -> None:
        """Learn the length of an answer."""
        n_seen, mean = self._means.get(kind, (0, 0.0))
        n_seen += 1
        # Entered anew, so that the kind seen longest ago comes first.
        self._means.pop(kind, None)
        self._means[kind] = n_seen, mean + max(self._weight, 1 / n_seen) * (n_output - mean)
        if len(self._means) > N_KINDS:
            del self._means[next(iter(self._means))]

    def state(self) -> dict[str, list[float]]:
        """Return what has been learned."""
        return {kind: [n_seen, mean] for kind, (n_seen, mean) in self._means.items()}

    def restore(self, state: dict[str, list[float]]) -> None:
        """Take up what :meth:`state` returned."""
        self._means = {kind: (int(n_seen), mean) for kind, (n_seen, mean) in state.items()}
