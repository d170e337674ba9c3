"""Train a Guided Flow Policy, evaluate it, and ask the saved policy for an action.

The dataset is the one that `guidedflow data collect cube-single-noisy-v0 --episodes 200` makes; its path may be given.
"""

# %% The dataset, the algorithm and the plan
import sys

import jax

from guidedflow import GFP, Plan, load_dataset, load_policy, train


def main(path=None, out="runs/gfp", steps=15_000, episodes=50):
    dataset = load_dataset("cube-single-noisy-singletask-task1-v0", path)
    algorithm = GFP(alpha=1.0, temperature=1e-3, hidden=(256, 256, 256))
    trained = train(algorithm, dataset, Plan(steps), out=out)
    print(trained.evaluate("actor", episodes=episodes).summary())

    # %% The saved policy
    policy = load_policy(out, "actor")
    print(policy(dataset.observations[0], jax.random.key(0)))


if __name__ == "__main__":
    main(*sys.argv[1:])
