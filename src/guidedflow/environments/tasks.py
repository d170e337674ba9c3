"""What the name of a task says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """What a task's name says. `number` is None for a dataset without a task, else 1 to 5 with the default resolved.

    OGBench's datasets without a task are goal-conditioned; with `oracle` a goal is not a whole observation, but what
    the suite itself judges success by.
    """

    name: str
    environment: str
    data: str
    number: int | None = None
    suite: str = "ogbench"
    oracle: bool = False

    @property
    def dataset(self) -> str:
        """The name of the dataset, without the task: one file serves the five tasks of OGBench's environments."""
        return f"{self.environment}-{self.data}-v0" if self.suite == "ogbench" else self.name

    @property
    def goal_conditioned(self) -> bool:
        """Whether the name stands for reaching whatever goal an episode has, and not for one task."""
        return self.suite == "ogbench" and self.number is None

    @property
    def pixels(self) -> bool:
        """Whether observations are uint8 images of 64 x 64 pixels."""
        return self.environment.startswith("visual-")
