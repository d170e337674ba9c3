"""Step an environment at a fixed rate, by chunks of actions from a policy server, and count the deadlines missed.

    guidedflow serve runs/gfp                                     # in another terminal
    python examples/robot_loop.py --env cube-single-noisy-singletask-task1-v0 --rate 20

`--env` is a task of guidedflow's, or gymnasium:NAME. A deadline is missed where actions come after their step was due.
"""

# %% An environment by its name
import argparse
import time

import gymnasium
import numpy as np

from guidedflow.serving.client import Client


def make(name):
    if name.startswith("gymnasium:"):
        return gymnasium.make(name.partition(":")[2])
    from guidedflow import environments

    return environments.make(name)


# %% The loop: ask for a chunk, execute it on time
def drive(env, client, rate, steps):
    policy = client.metadata()["policies"][client.metadata()["default_policy"]]
    wanted, found = policy["observation"]["shape"][1:], list(env.observation_space.shape)
    if wanted != found:
        raise SystemExit(f"the policy takes observations of shape {wanted}, but the environment gives {found}")
    observation, _ = env.reset(seed=0)
    client.act(observation)  # connects, and waits until the server is ready
    chunk, reward, missed, total, fresh, due = [], None, 0, 0.0, True, time.monotonic()
    for _ in range(steps):
        if len(chunk) == 0:
            chunk = client.act(observation, reward=reward, reset=fresh)
            missed += time.monotonic() > due + 1 / rate
        action, chunk, fresh = np.clip(chunk[0], env.action_space.low, env.action_space.high), chunk[1:], False
        observation, reward, terminated, truncated, _ = env.step(action)
        reward, due = float(reward), due + 1 / rate
        total += reward
        time.sleep(max(0.0, due - time.monotonic()))
        if terminated or truncated:
            client.end(observation, reward=reward, terminated=bool(terminated))
            (observation, _), chunk, reward, due = env.reset(), [], None, time.monotonic()
    print(f"{steps} steps at {rate:g} Hz: {missed} deadlines missed, mean reward {total / steps:.3f}")


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--env", default="cube-single-noisy-singletask-task1-v0")
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=8000)
parser.add_argument("--rate", type=float, default=20.0, help="steps a second")
parser.add_argument("--steps", type=int, default=200)
options = parser.parse_args()
with Client(options.host, options.port) as robot:
    drive(make(options.env), robot, options.rate, options.steps)
