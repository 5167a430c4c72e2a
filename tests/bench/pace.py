"""`make bench-pacing`: every promise about pacing as a figure, beside an oracle fed with the same calls in the same run.

    make bench-pacing                              # all rows, about 45 minutes
    make bench-pacing ROWS="steady burst"          # some
    make bench-pacing ROWS=steady MINUTES=2        # a shorter steady backlog

The simulated provider counts what it sees to the request: a violation is a request that it had to refuse although its
limits were unchanged, or a sliding minute over a limit. Four workers are four processes. The machine's load does not
change what is right here, only how late it comes: figures are shares, counts and seconds.
"""

import json
import os
import sys
import time

from . import pace_report, pace_rows
from .measure import ROOT, BenchError

ROWS = {"steady": pace_rows.steady, "change": pace_rows.change, "unknown": pace_rows.unknown,
        "unknown_silent": pace_rows.unknown_silent, "burst": pace_rows.burst, "outage": pace_rows.outage,
        "churn": pace_rows.churn, "cost": pace_rows.cost}


def say(text):
    print(text, file=sys.stderr, flush=True)


def write(figures):
    """The table so far; the figures go into the file, row by row."""
    table = pace_report.lines(figures)
    with open(os.path.join(ROOT, "build", "bench-pacing.json"), "w", encoding="utf-8") as file:
        json.dump({"table": table, "rows": figures}, file, indent=1)
    return table


def main():
    wanted = os.environ.get("ROWS", "").split() or sys.argv[1:] or list(ROWS)
    unknown = [name for name in wanted if name not in ROWS]
    if unknown:
        say(f"bench: no row is called {' '.join(unknown)}; rows are {' '.join(ROWS)}")
        return 2
    figures = {"load_average_before": os.getloadavg()}
    for name in wanted:
        start = time.monotonic()
        try:
            figures[name] = ROWS[name]()
        except (BenchError, OSError, ValueError, KeyError) as error:
            figures[name] = {"error": f"{type(error).__name__}: {error}"}
        figures[name]["took_s"] = round(time.monotonic() - start, 1)
        say(f"bench: {name} {figures[name]['took_s']} s" + (f": {figures[name]['error']}" if "error" in figures[name] else ""))
        write(figures)
    figures["load_average_after"] = os.getloadavg()
    table = write(figures)
    print(pace_report.text(table))
    say("bench: raw figures in build/bench-pacing.json")
    return 1 if any(isinstance(row, dict) and "error" in row for row in figures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
