"""A limit that measures: the time of a network under ONNX Runtime, on the machine that designs.

    deepmad design examples/small.yaml --limit 'examples.measured_limit:seconds<=200us' --time-limit 120

The function is called in a process of its own, one network at a time, so that nothing else of the design runs beside
it. No latency table is needed; a design calls it for a few dozen networks, and reports how many.
"""

from deepmad import Architecture, measure


def seconds(network: Architecture) -> float:
    """Return the median seconds of one image, on one thread."""
    return measure(network, backend="onnxruntime", threads=1).seconds
