"""Every test-time method on five cube tasks, its weight chosen on other episodes: about two hours on two cores.

python examples/test_time_methods.py [--tasks 1 2 3 4 5] [--steps 15000] [--seeds 3] [--out runs/test-time]

If it is killed, start it again: trained runs are used again, and so are the findings beside them.
"""

# %% What is run
import argparse
import json
from pathlib import Path

from guidedflow import CFGRL, QGF, Plan, collect, load_dataset, train
from guidedflow.results.tables import markdown
from guidedflow.studies import Methods, conduct
from guidedflow.studies.subject import Subject

parser = argparse.ArgumentParser()
parser.add_argument("--tasks", type=int, nargs="+", default=[1, 2, 3, 4, 5])
parser.add_argument("--steps", type=int, default=15_000)
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--episodes", type=int, default=200, help="of data")
parser.add_argument("--eval-episodes", type=int, default=50)
parser.add_argument("--out", type=Path, default=Path("runs/test-time"))
options = parser.parse_args()

# %% Data, training and the study of each task
data = options.out / "data" / "cube-single-noisy-v0.npz"
if not data.exists():
    collect("cube-single-noisy-v0", options.episodes, out=data.parent)
study = Methods(episodes=options.eval_episodes, select_episodes=min(20, options.eval_episodes))
table: dict[str, list[tuple[float, str]]] = {}
for task in options.tasks:
    dataset = load_dataset(f"cube-single-noisy-singletask-task{task}-v0", data)
    for algorithm in (QGF(robust=True, hidden=(256, 256, 256)), CFGRL(hidden=(256, 256, 256))):
        run = options.out / f"{type(algorithm).__name__.lower()}-task{task}"
        if not (found := run / "methods.json").exists():
            trained = train(algorithm, dataset, Plan(options.steps, seeds=options.seeds), out=run, resume=run.exists())
            finding, _ = conduct(study, Subject.of(trained, dataset))
            found.write_text(json.dumps(finding.plain()))
        for row in json.loads(found.read_text())["rows"]:
            weight = "" if row["weight"] is None else f" ({row['weight']:g})"
            table.setdefault(row["method"], []).append((row["success"], f"{row['success']:.2f}{weight}"))

# %% The table
rows = [
    [name, *(told for _, told in cells), f"{sum(success for success, _ in cells) / len(cells):.2f}"]
    for name, cells in table.items()
]
print(markdown(["method", *(f"task {task}" for task in options.tasks), "mean"], rows))
