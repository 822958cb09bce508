"""The least and the most that a row of a latency table can mean: what lies beyond is a fault or a doubt.

Predictions are whole numbers in 64 bits; within these limits they hold every layer of every row.
"""

import math

from deepmad.search_spaces.ranges import RANGES

SHORTEST_SECONDS = 1e-9
"""Nothing that runs takes less than a nanosecond,"""
LONGEST_SECONDS = 60.0
"""and no batch of a network that is worth a latency table more than a minute."""
USUAL_SECONDS = 1e-6
"""Half of the rows of a table take longer than a microsecond, which is what starting a layer costs; where they do
not, its times are in another unit."""
MOST_BATCH, MOST_THREADS = int(RANGES["batch"].most), int(RANGES["threads"].most)
MOST_CHANNELS = 2**16
MOST_SIDE = 2**14
MOST_KERNEL = 255
SPARE_LOAD, STOLEN_SHARE = 0.5, 0.01
"""A measurement is doubtful where the load average is above that of the timing by so much, or where the hypervisor kept
more than this share of the processor's time for others."""
NANOSECONDS_IN_SECOND = 10**9
SECONDS_ALLOWED = f"between {SHORTEST_SECONDS * NANOSECONDS_IN_SECOND:.0f} ns and {LONGEST_SECONDS:.0f} s"
"""The range of times, for error messages."""


def nanoseconds_of(value: object, unit: float = 1.0) -> int | None:
    """Return the whole nanoseconds of a number of `unit` seconds; None for no number or a time that nothing takes."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value) * unit
    except OverflowError:  # an integer of hundreds of digits
        return None
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS or math.isnan(seconds):
        return None
    return round(seconds * NANOSECONDS_IN_SECOND)
