#!/usr/bin/env python3
"""Measures machines of clouds: calls made and time taken for many of them up and down, beside the bare SDK.

Nothing boots: AWS is moto's server in a process of its own, OpenStack the control plane that `make test-systems` uses.
The program's part is what a provider does, asked by as many threads as an apply would use. The bare SDK's part is the
very calls that were recorded made again, by as many threads, each as soon as there is what it names: by boto3 for AWS,
by openstacksdk's own adapters for OpenStack.

What takes time at a cloud has to be waited for by both. At OpenStack the looks by which the provider waits, for servers
to run or to be gone, are not made again one by one, since nobody knows beforehand how many it takes: the bare SDK looks
at all servers by one list, half a second after the last look, which is the shortest pause of the provider. They are
counted apart.

Both sides take turns, after one turn that does not count. The ratio is that of the turn in the middle.

`scripts/bench` takes the figures from `--json`; run alone it prints a table.

Usage: bench_clouds.py [--provider aws|openstack] [--machines N] [--turns N] [--json] [--missing] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.bench_clouds_aws import measure_aws  # noqa: E402
from scripts.bench_clouds_openstack import measure_openstack, missing_openstack  # noqa: E402
from scripts.bench_clouds_sides import PHASES, Result  # noqa: E402

MACHINES = {"aws": 100, "openstack": 20}
MEASURES = {"aws": measure_aws, "openstack": measure_openstack}


def render(result: Result) -> str:
    """A table."""
    turn = result.middle
    ours, bare = turn.ours, turn.bare
    lines = [f"{result.machines} machines at {result.provider}", f"{'':10}  ours s  bare s  ratio"]
    for name in (*PHASES, "up + down"):
        one, other = (part.total if name == "up + down" else part.seconds[name] for part in (ours, bare))
        lines.append(f"{name:10}  {one:6.2f}  {other:6.2f}  {one / other:5.2f}")
    ratios = ", ".join(f"{ratio:.2f}" for ratio in result.ratios)
    lines += [f"The turn in the middle of {len(result.turns)}; their ratios: {ratios}."]
    operations = sorted({*ours.calls, *bare.calls}, key=lambda operation: -ours.calls.get(operation, 0))
    width = max(map(len, operations))
    lines += ["", f"{'calls':{width}}  ours  bare"]
    calls = [(one, ours.calls.get(one, 0), bare.calls.get(one, 0)) for one in operations]
    calls.append(("all", sum(ours.calls.values()), sum(bare.calls.values())))
    return "\n".join([*lines, *(f"{one:{width}}  {mine:4}  {other:4}" for one, mine, other in calls)])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=sorted(MEASURES), default="aws")
    parser.add_argument("--machines", type=int, metavar="N")
    parser.add_argument("--turns", type=int, default=3, metavar="N")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--missing", action="store_true", help="say what is not installed for it, and measure nothing")
    parser.add_argument("--profile", action="store_true", help="where this process computes, of all turns")
    args = parser.parse_args()
    if args.missing:
        print(missing_openstack() if args.provider == "openstack" else "")
        return 0
    profile = cProfile.Profile()
    if args.profile:
        profile.enable()
    try:
        result = MEASURES[args.provider](args.machines or MACHINES[args.provider], args.turns)
    except (RuntimeError, TimeoutError) as problem:
        print(f"Could not measure: {problem}", file=sys.stderr)
        return 1
    if args.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
    print(json.dumps(result.told) if args.json else render(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
