"""Runs a command to its end and writes what it cost as JSON: python -I -S launch.py FILE COMMAND…

A process of its own, because a child's peak memory begins with that of the process it was forked from: this one is
small, the benchmark is not. **Units**: seconds, MiB. Of several processes the peak is that of the largest.
"""

import json
import os
import sys
import time

began = time.monotonic()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(pid, 0)
wall_s = time.monotonic() - began
unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
cost = {"wall_s": wall_s, "cpu_s": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / unit}
with open(sys.argv[1], "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib would make it larger
    json.dump({**cost, "began_s": began, "code": os.waitstatus_to_exitcode(status)}, file)
