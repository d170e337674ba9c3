"""GFP against FQL on two cubes, with their published settings at 3x256; hours on a laptop. If killed, start it again.

python examples/gfp_against_fql.py [--tasks 1 2] [--steps 100000] [--seeds 1] [--out runs/cube-double]
"""

# %% The two methods
import argparse
from pathlib import Path

from guidedflow import FQL, GFP, Plan, collect, learning_curve, load_dataset, train
from guidedflow.algorithms.gfp import Target

SMALL = (256, 256, 256)
METHODS = {  # published for cube-double-noisy (arXiv 2512.03973, and its authors' retuned FQL)
    "gfp": GFP(alpha=0.1, temperature=1e-4, target=Target.published_mean, hidden=SMALL),
    "fql": FQL(alpha=10.0, hidden=SMALL),
}

# %% Data, collected once
parser = argparse.ArgumentParser()
parser.add_argument("--tasks", type=int, nargs="+", default=[1, 2])
parser.add_argument("--steps", type=int, default=100_000)
parser.add_argument("--seeds", type=int, default=1)
parser.add_argument("--episodes", type=int, default=400)
parser.add_argument("--eval-episodes", type=int, default=50)
parser.add_argument("--out", type=Path, default=Path("runs/cube-double"))
options = parser.parse_args()

data = options.out / f"data-{options.episodes}" / "cube-double-noisy-v0.npz"
if not data.exists():
    collect("cube-double-noisy-v0", options.episodes, out=data.parent)

# %% Train, evaluate, draw
interval = max(options.steps // 10, 1000)
shared = {"eval_interval": interval, "checkpoint_interval": interval}
plan = Plan(options.steps, seeds=options.seeds, eval_episodes=min(20, options.eval_episodes), **shared)
for task in options.tasks:
    name = f"cube-double-noisy-singletask-task{task}-v0"
    dataset = load_dataset(name, data)
    runs = {method: options.out / f"{method}-task{task}" for method in METHODS}
    curves = {}
    for method, run in runs.items():
        trained = train(METHODS[method], dataset, plan, out=run, resume=run.exists())
        for policy in trained.policies():
            print(task, method, policy, trained.evaluate(policy, episodes=options.eval_episodes).summary()["success"])
        curves[method] = trained.episodes()
    print(learning_curve(curves, options.out / f"task{task}.png", name))
