"""A policy of guidedflow on a machine with NumPy alone: one-step actors, and flows without a critic.

    from policy import Policy
    policy = Policy("folder of the export")
    actions = policy(observation, rng=numpy.random.default_rng(0))     # [steps, numbers]

This file is complete in itself, and lies beside `policy.json` and `policy.safetensors`. Run as a script, it repeats the
comparison with the actions that were recorded when the policy was exported.
"""

import json
import pathlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def read_safetensors(path: pathlib.Path) -> dict[str, Array]:
    """The arrays of a safetensors file of float32 numbers."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    arrays: dict[str, Array] = {}
    for name, told in json.loads(data[8:end]).items():
        if name != "__metadata__":
            begin, stop = told["data_offsets"]
            dtype = {"F32": "<f4", "U8": "|u1"}[told["dtype"]]
            arrays[name] = np.frombuffer(data[end + begin : end + stop], dtype).reshape(told["shape"])
    return arrays


class Policy:
    """The policy of an export folder: `policy(observation)` is the actions [steps, numbers] to take."""

    def __init__(self, folder: pathlib.Path | str = ".") -> None:
        folder = pathlib.Path(folder)
        told = json.loads((folder / "policy.json").read_text())
        self.interface, self.how = told["interface"], told["artifacts"]["numpy"]["network"]
        self.arrays = read_safetensors(folder / "policy.safetensors")

    def __call__(
        self,
        observation: Any,
        noise: Any = None,
        condition: Any = None,
        rng: np.random.Generator | None = None,
    ) -> Array:
        """Actions from an observation and noise [1, numbers], which is drawn by `rng` where it is not given."""
        x: Array = np.asarray(observation, np.float32)
        if x.shape != tuple(self.interface["observation_shape"]) or not np.isfinite(x).all():
            raise ValueError(f"expected a finite observation of shape {self.interface['observation_shape']}")
        if "mean" in self.arrays:
            x = (x - self.arrays["mean"]) / self.arrays["deviation"]
        if noise is None:
            noise = (rng or np.random.default_rng()).standard_normal(self.interface["noise_shape"])
        point: Array = np.asarray(noise, np.float32).reshape(-1)
        if self.how["kind"] == "flow":
            condition = self.interface["condition"] if condition is None else condition
            for i in range(self.how["steps"]):
                point = point + self._velocity(x, point, i, condition) / np.float32(self.how["steps"])
        elif self.how["kind"] == "actor":
            point = self._mlp(np.concatenate([x, point]))
        else:
            point = self._mlp(x)
        point = np.tanh(point) if self.how["squash"] else point
        point = np.clip(point, -1, 1)
        if "middle" in self.arrays:
            point = self.arrays["middle"] + point * self.arrays["half"]
        return point.reshape(self.interface["chunk"], self.interface["action_size"])

    def _velocity(self, x: Array, point: Array, step: int, condition: Any) -> Array:
        time = self.arrays["times"][step]
        if "labels" not in self.arrays:
            return self._mlp(np.concatenate([x, point, time]))
        without, under = (self._mlp(np.concatenate([x, label, point, time])) for label in self.arrays["labels"][:2])
        return without + np.float32(condition) * (under - without)

    def _mlp(self, x: Array) -> Array:
        for i in range(self.how["layers"] - 1):
            x = x @ self.arrays[f"weight.{i}"] + self.arrays[f"bias.{i}"]
            if f"scale.{i}" not in self.arrays:
                x = gelu(x)
            elif self.how["norm_first"]:
                x = gelu(self._norm(x, i))
            else:
                x = self._norm(gelu(x), i)
        last = self.how["layers"] - 1
        return x @ self.arrays[f"weight.{last}"] + self.arrays[f"bias.{last}"]

    def _norm(self, x: Array, i: int) -> Array:
        centred = x - np.mean(x)
        return (
            centred / np.sqrt(np.mean(centred * centred) + np.float32(1e-6)) * self.arrays[f"scale.{i}"]
            + (self.arrays[f"shift.{i}"])
        )


def gelu(x: Array) -> Array:
    """GELU in its tanh form."""
    return x * np.float32(0.5) * (1 + np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x)))


def largest_difference(folder: pathlib.Path) -> float:
    """Between the recorded actions of the export and these."""
    policy, recorded = Policy(folder), read_safetensors(folder / "check.safetensors")
    differences = []
    for row, actions in enumerate(recorded["actions"]):
        condition = recorded["condition"][row] if "condition" in recorded else None
        found = policy(recorded["observation"][row], recorded["noise"][row], condition)
        differences.append(float(np.abs(found - actions).max()))
    return max(differences)


if __name__ == "__main__":
    print("largest difference to the recorded actions:", largest_difference(pathlib.Path(__file__).parent))
