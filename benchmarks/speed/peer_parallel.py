"""GNU parallel and curl: python peer_parallel.py LIST URL IN_FLIGHT BATCH_ROWS

A file for every request and so many curls at once, each with ten requests over one connection; the job log is what a
crash would leave to go on from.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from peer_bodies import bodies

path, url, in_flight, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
REQUESTS = 10


def request(file: Path) -> str:
    """A request as a file of settings for curl has it."""
    return (
        f'url = "{url}"\nfail\nsilent\nshow-error\noutput = "/dev/null"\n'
        f'header = "Content-Type: application/json"\nheader = "Expect:"\ndata-binary = "@{file}"\n'
    )


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    files = []
    for number, body in enumerate(bodies(path, size)):
        files.append(folder / f"{number}.json")
        files[-1].write_text(body)
    jobs = []
    for at in range(0, len(files), REQUESTS):
        jobs.append(folder / f"{at}.curl")
        jobs[-1].write_text("next\n".join(map(request, files[at : at + REQUESTS])))
    subprocess.run(
        ["parallel", "--jobs", str(in_flight), "--joblog", str(folder / "log"), "--halt", "now,fail=1", "curl", "-K"],
        input="\n".join(map(str, jobs)), text=True, check=True,
    )  # fmt: skip
