"""Errors of the profilers that are not the user's doing."""


class DeviceError(RuntimeError):
    """A back end or its device failed while it prepared or ran a network."""
