"""Train on data of your own, and evaluate in an environment of your own (`reach.py` has both).

python examples/own_environment.py [--steps 5000] [--seeds 3] [--out runs/reach]
"""

# %% Train GFP on arrays
import argparse

from reach import make, recorded

from guidedflow import GFP, Plan, Simulators, train
from guidedflow.results import statistics

if __name__ == "__main__":  # simulators are processes, which import this file
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--out", default="runs/reach")
    options = parser.parse_args()
    algorithm = GFP(alpha=1.0, temperature=1e-2, hidden=(64, 64))
    trained = train(algorithm, recorded(), Plan(options.steps, seeds=options.seeds), out=options.out)

    # %% Evaluate every policy on the same episodes
    outcomes = {}
    with Simulators(make, number=4, workers=1) as simulators:
        for policy in trained.policies():
            result = trained.evaluate(policy, simulators=simulators, episodes=options.episodes)
            rows = result.rows
            outcomes[policy] = {seed: [row["success"] for row in rows if row["seed"] == seed] for seed in trained.seeds}

    # %% Success with its interval, and the difference of the two policies
    for policy, episodes in outcomes.items():
        print(policy, statistics.success(episodes))
    print("actor - flow:", statistics.paired(outcomes["actor"], outcomes["flow"]).difference)
