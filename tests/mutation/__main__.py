"""Make random changes to the product and check that a test fails: `python -m tests.mutation`.

It is not part of `make test`, because 200 mutants take up to an hour. Each mutant is one small
change. It is killed if a test that reaches its line fails or hangs, on SQLite or on PostgreSQL:

    python -m pip install coverage  # no test needs it, so the lock does not have it
    python -m tests.postgres python -m tests.mutation --seed 1 --count 200

The same seed gives the same mutants until a module changes. survivors.md lists the survivors of the
last run.

cosmic-ray has only one test command for all modules and tries all mutants in order. mutmut imports
every variant of each module at once, which breaks Django's app registry.
"""

import argparse
import json
import os
import random
import subprocess
import sys

from tests.mutation.mutants import ROOT, Mutant, all_mutants


def survivors(mutants: list[Mutant], database_url: str) -> list[Mutant]:
    """Return the mutants that no test on this database notices."""
    environment = {name: text for name, text in os.environ.items() if name != "DATABASE_URL"}
    environment |= {"DATABASE_URL": database_url} if database_url else {}
    finished = subprocess.run(
        [sys.executable, "-m", "tests.mutation.runner"],
        cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, input=json.dumps(mutants),
        text=True,
    )  # fmt: skip
    return [Mutant(*mutant) for mutant in json.loads(finished.stdout)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    found = list(all_mutants())
    chosen = alive = random.Random(options.seed).sample(found, options.count)
    for url in sorted({"", os.environ.get("DATABASE_URL", "")}):
        alive = survivors(alive, url)
    killed = len(chosen) - len(alive)
    print(
        f"Seed {options.seed}: {killed} of {len(chosen)} killed, of {len(found)} possible mutants"
    )
    print(*(f"- `{mutant}`" for mutant in alive), sep="\n")


if __name__ == "__main__":
    main()
