"""The two clocks: the monotonic one judges (the same in every process of the machine), the wall clock is only
told."""

import time


def mono_ms():
    """CLOCK_MONOTONIC in whole milliseconds."""
    return time.monotonic_ns() // 1_000_000


def wall_ms():
    return int(time.time() * 1000)


def wall_minus_mono_ms():
    """What to add to a monotonic time for the wall clock's."""
    return (time.time_ns() - time.monotonic_ns()) // 1_000_000
