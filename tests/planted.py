"""A small problem, and the ways in which it goes wrong: what diagnoses are tried on.

Episodes of 30 steps in a plane: the state moves by a fifth of the action, and each step costs 1 until the goal.
"""

from dataclasses import replace

import numpy as np

from guidedflow.data.dataset import Dataset

STEPS, REACH = 30, 0.25


def plane(episodes: int = 200, seed: int = 0, good: float | None = None) -> Dataset:
    """Noisy walks towards a goal that is observed; with `good`, that share of episodes, and the others at random."""
    random = np.random.default_rng(seed)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("seen", "action", "reward", "mask", "last")}
    for episode in range(episodes):
        at, goal = random.uniform(-1, 1, (2, 2))
        skilled = good is None or episode < good * episodes
        for step in range(STEPS + 1):
            seen = np.concatenate([at, goal])
            toward = np.clip(1.5 * (goal - at), -0.8, 0.8) if skilled else np.zeros(2)
            action = np.clip(toward + (0.3 if skilled else 0.5) * random.standard_normal(2), -1, 1)
            after = np.clip(at + action / 5, -1.5, 1.5)
            there = np.abs(after - goal).max() < REACH if good is None else (skilled and step > STEPS // 3)
            final = step == STEPS or (step > 0 and bool(columns["mask"][-1] == 0))
            for name, value in zip(
                columns,
                (seen, action * (not final), 0.0 if final else float(there) - 1, float(not there), final),
                strict=True,
            ):
                columns[name].append(np.asarray(value))
            at = after
            if final:
                break
    arrays = {name: np.asarray(values, bool if name == "last" else np.float32) for name, values in columns.items()}
    return Dataset("plane", arrays["seen"], arrays["action"], arrays["reward"], arrays["mask"], arrays["last"])


def shuffled(data: Dataset) -> Dataset:
    """Actions of other rows."""
    order = np.random.default_rng(0).permutation(len(data.actions))
    return replace(data, actions=data.actions[order])
