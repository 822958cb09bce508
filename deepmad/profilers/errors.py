"""Errors of the profilers that are not the user's doing."""

_NO_MEMORY = ("bad_alloc", "Failed to allocate memory", "Cannot allocate memory")
"""What libraries in C++ say where there is too little memory."""


class DeviceError(RuntimeError):
    """A back end or its device failed while it prepared or ran a network."""


def require_memory(error: Exception, what: str) -> None:
    """Raise `MemoryError`, which names `what` was at work, where a library's error says that there was too little."""
    if isinstance(error, MemoryError) or any(said in str(error) for said in _NO_MEMORY):
        raise MemoryError(f"{what}; free some, or measure a smaller network") from error
