"""A back end that stands in front of a real one, for tests to change one thing about it."""

from deepmad.profilers.backends.role import Backend


class StandIn(Backend):
    """Says of itself what the `inner` back end says; `prepare` is left to each kind."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.name, self.precisions = inner.name, inner.precisions

    def modules(self) -> tuple[str, ...]:
        return self.inner.modules()

    def availability(self) -> str | None:
        return self.inner.availability()

    def version(self) -> str:
        return self.inner.version()

    def device(self) -> str:
        return self.inner.device()
