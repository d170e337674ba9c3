"""An environment of your own, for the examples: a point in the plane that is to reach the origin."""

# %% A Gymnasium environment with boxes of observations and actions, and `success` in its infos
import gymnasium
import numpy as np

from guidedflow import Dataset


class Reach(gymnasium.Env):
    """The observation is the point, the action its next move; an episode ends at the origin, or after 20 steps."""

    observation_space = gymnasium.spaces.Box(-2, 2, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.point, self.time = self.np_random.uniform(-1, 1, 2).astype(np.float32), 0
        return self.point.copy(), {}

    def step(self, action):
        self.point = np.clip(self.point + 0.2 * np.asarray(action, np.float32), -2, 2)
        self.time += 1
        distance = float(np.linalg.norm(self.point))
        success = distance < 0.2
        return self.point.copy(), -distance, success, self.time >= 20, {"success": success}


def make():
    """What makes one; simulators run in processes of their own, which import it by its name."""
    return Reach()


# %% A dataset from arrays: 100 episodes of somebody who heads for the origin half of the time
def recorded(episodes=100):
    random, env, rows = np.random.default_rng(0), make(), []
    for episode in range(episodes):
        observation, _ = env.reset(seed=episode)
        over = False
        while not over:
            aim = -observation / np.linalg.norm(observation) if random.random() < 0.5 else random.uniform(-1, 1, 2)
            action = np.clip(aim + 0.2 * random.standard_normal(2), -0.99, 0.99)
            following, reward, terminated, truncated, _ = env.step(action)
            rows.append((observation, action, reward, 1 - terminated, False))
            observation, over = following, terminated or truncated
        rows.append((observation, np.zeros(2), 0.0, 1.0, True))  # the final observation, a row of its own
    observations, actions, rewards, masks, last = (np.array(column) for column in zip(*rows, strict=True))
    floats = [column.astype(np.float32) for column in (observations, actions, rewards, masks)]
    return Dataset("reach", *floats, last)
