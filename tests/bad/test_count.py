"""There are at least 500 rows, and none twice."""

from __future__ import annotations

from tests.bad import graphs, options, sources, test_environment, test_folders, test_runs, verbs
from tests.cli import test_adapt_files, test_bad_files, test_bad_input, test_bad_numbers
from tests.tasks.own import test_table

TABLES = {
    "configuration": [option.id for option in options.options()],
    "verbs": [f"{o.verb} --{o.name}={value}" for o in verbs.options() for value in o.bad],
    "command line": [*test_bad_input.OURS, *test_bad_input.TYRO, *test_bad_input.WITH_DATA],
    "runs": [case[0] for case in test_runs.CASES],
    "damages": [f"{n} {case[1]}" for n, case in enumerate(test_bad_files.DAMAGES)],
    "graphs": [*graphs.ROWS, *graphs.FILES],
    "settings of graphs": [*graphs.SETTINGS],
    "folders of pictures": [*test_folders.ROWS],
    "tables": [*test_table.BAD],
    "support sets": [*test_adapt_files.BAD],
    "models": [*sources.MODELS, *(f"unfit {name}" for name in test_bad_numbers.UNFIT)],
    "tasks": [*sources.VALUES, *sources.FORMS],
    "environment": [*test_environment.ROWS],
}
GENERATED = ("configuration", "verbs")


def test_at_least_five_hundred() -> None:
    for name, rows in TABLES.items():
        print(f"{name}: {len(rows)}")
        assert len(set(rows)) == len(rows), name
    assert sum(len(rows) for name, rows in TABLES.items() if name not in GENERATED) >= 500
    assert sum(map(len, TABLES.values())) >= 2500


def test_every_generated_row_is_tried() -> None:
    """What waits for a change elsewhere is counted, and is no way out for more."""
    assert len(verbs.PENDING) <= 5
