"""The long form: `python -m tests.chaos [SCENARIO ...]`, or `make chaos`, or `make chaos only=broker-killed`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from pathlib import Path

from tests.chaos.catalogue import SCENARIOS, Entry
from tests.chaos.machines import Arena
from tests.chaos.report import Result, table

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- figures -->", "<!-- end -->"


def chosen(names: list[str]) -> list[Entry]:
    """The scenarios of these names, in the order in which they stand; all where none is named."""
    known = {entry.name: entry for entry in SCENARIOS}
    unknown = sorted(set(names) - set(known))
    if unknown:
        sys.exit(f"no scenario {', '.join(unknown)}; there are: {', '.join(known)}")
    return [entry for entry in SCENARIOS if not names or entry.name in names]


def main() -> None:
    """Run them one after the other and print the table; the exit code is 1 where one of them is not exact."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("scenario", nargs="*", help="which (default: all)")
    parser.add_argument("--short", action="store_true", help="the sizes of the test run")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    parser.add_argument("--save", action="store_true", help=f"write the table into {PAGE.name}")
    options = parser.parse_args()
    entries = chosen(options.scenario)
    if options.list:
        print("\n".join(f"{entry.name}: {(entry.scenario.__doc__ or '').splitlines()[0]}" for entry in entries))
        return
    results: list[Result] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="driftline-chaos-") as directory:
        arena = Arena(Path(directory))
        try:
            arena.open()
            for entry in entries:
                print(f"{entry.name} ...", flush=True)
                try:
                    result = entry.run(arena, entry.short or entry.long if options.short else entry.long)
                except Exception:  # the others are still worth a run, on servers that run
                    traceback.print_exc()
                    failed.append(entry.name)
                    arena.mend()
                    continue
                results.append(result)
                print(f"  {result.seconds:.0f} s, {result.verdict.describe()}", flush=True)
        finally:
            arena.close()
    told = table(results)
    print(told)
    if options.save:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{told.rstrip()}\n{END}{rest.partition(END)[2]}")
    wrong = [result.name for result in results if not result.verdict.exact] + failed
    if wrong:
        sys.exit(f"not exact, or not carried through: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
