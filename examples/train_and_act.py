"""Train a Guided Flow Policy, evaluate it, and ask the saved policy for an action.

    guidedflow data collect cube-single-noisy-v0 --episodes 200
    python examples/train_and_act.py [DATASET]
"""

import sys

import jax

from guidedflow import GFP, load_dataset, train
from guidedflow.trained import load_policy
from guidedflow.training import Plan


def main(path=None, out="runs/gfp", steps=15_000, episodes=50):
    dataset = load_dataset("cube-single-noisy-singletask-task1-v0", path)
    trained = train(GFP(alpha=1.0, temperature=1e-3, hidden=(256, 256, 256)), dataset, Plan(steps), out=out)
    print(trained.evaluate("actor", episodes=episodes).summary())

    policy = load_policy(out, "actor")
    print(policy(dataset.observations[0], jax.random.key(0)))


if __name__ == "__main__":  # simulators are processes of their own, and import this file again
    main(*sys.argv[1:])
