"""Set back, stop and hurry the clocks of this process, by which it might be charged."""

import time


def attempt():
    time.monotonic = time.perf_counter = time.process_time = time.thread_time = lambda: 0.0
    time.sleep = lambda _: None
    while True:
        pass
