"""Compiles service templates with puccini; run by the Python that has it: read_with_puccini.py TEMPLATE...

Prints for each template either how many vertexes came out, or what puccini has against it, as one JSON document.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Read every template that is named."""
    from puccini.tosca import Problems
    from puccini.tosca import compile as compile_template

    found: dict[str, object] = {}
    for path in sys.argv[1:]:
        try:
            found[path] = len(compile_template(path)["vertexes"])
        except Problems as refusal:
            found[path] = [
                f"{str(problem.get('section', '')).rpartition('/')[2]}:{problem.get('row')}:{problem.get('column')}: "
                f"{problem.get('item', '')}: {problem.get('message', '')}"
                for problem in refusal.problems
            ]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
