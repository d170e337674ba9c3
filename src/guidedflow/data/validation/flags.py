"""Where tasks and episodes end: flags that are flags, that are set at all, and that agree; observations that follow.

What is told are rows of the file. This module does not know of suites, nor how a column is read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.formats import recording
from guidedflow.data.formats.columns import Roles
from guidedflow.data.validation.problem import Problems

Flags = Mapping[str, NDArray[np.bool_]]


def flag_of(path: Path, name: str, column: NDArray[Any], problems: Problems) -> NDArray[np.bool_] | None:
    """A column of 0 and 1 as booleans; None where it holds anything else."""
    flag = column.astype(bool)
    wrong = np.flatnonzero(flag != column)
    if wrong.size:
        problems.add("flag-values", path, name, wrong[0], found=f"{column[wrong[0]]}")
        return None
    return flag


class Ends:
    """The flags of a file, equally long, and the names of their columns by role."""

    def __init__(
        self, path: Path, roles: Roles, names: Mapping[str, str], flags: Flags, rows: int, problems: Problems
    ) -> None:
        self.path, self.roles, self.names, self.flags, self.problems = path, roles, names, flags, problems
        self._rows = rows

    def check(self, found: Mapping[str, NDArray[Any]]) -> None:
        """Each flag alone, all of them together, and the columns that say the same in another way."""
        if self.roles.columns.transitions is not None:  # no row has to do with the one before it
            self._check_successors(found["observations"], found["next_observations"])
            return
        for role, flag in self.flags.items():
            self._check_share(role, flag)
        self._check_agreement()
        if "episodes" in found:
            self._check_numbers(found["episodes"])
        if {"observations", "next_observations"} <= found.keys():
            self._check_following(found["observations"], found["next_observations"], found.get("episodes"))

    def _tell(self, kind: str, role: str, rows: NDArray[np.intp], found: str, **facts: object) -> None:
        """A problem of a role's column, if there is a row with it."""
        if rows.size:
            self.problems.add(kind, self.path, self.names[role], rows[0], found=found, **facts)

    def _check_share(self, role: str, flag: NDArray[np.bool_]) -> None:
        """Whether a flag is set at all, not always, and not the other way round."""
        share, rows = float(flag.mean()), np.arange(len(flag))
        few = f"1 in {100 * share:.0f} % of the rows"
        match role:
            case "last" if share == 0:
                self._tell("never-ends", role, rows, f"0 in all {len(flag)} rows")
            case "last":
                self._tell("cut-off-episode", role, rows[-1:][~flag[-1:]], "0")
            case "masks" if share == 0:
                self._tell("always-set", role, rows, "0 in all rows: nothing is bootstrapped")
            case "masks" if share < 0.5:
                self._tell("masks-inverted", role, rows[~flag], f"0 in {100 * (1 - share):.0f} % of the rows")
            case "masks":
                return
            case _ if share == 0:
                if role == "terminals" or not self._terminals.any():
                    self._tell("never-set", role, rows, f"0 in all {len(flag)} rows")
            case _ if share == 1:
                self._tell("always-set", role, rows, "1 in all rows")
            case "terminals" if share > 0.5 and not self.roles.goes_on:
                self._tell("inverted", role, rows[flag], few)
        if role in ("terminals", "ends") and 0 < share <= 0.5 and not self.roles.goes_on:
            self._tell("double-end", role, np.flatnonzero(flag[1:] & flag[:-1]), "1 in the row after it too")

    def _check_agreement(self) -> None:
        """Whether flags that speak of the same end say the same."""
        ends, last, masks = (self.flags.get(role) for role in ("ends", "last", "masks"))
        terminals, named = self._terminals, self.names.get("terminals", "")
        if ends is not None:
            self._tell("unfinished", "ends", np.arange(len(ends))[-1:][~(ends | terminals)[-1:]], "0")
            if self.roles.of_d4rl:
                self._tell("both-ends", "ends", np.flatnonzero(terminals & ends), "1 in both", terminals=named)
            elif not self.roles.goes_on:
                self._tell("terminal-without-end", "ends", np.flatnonzero(terminals & ~ends), "0", terminals=named)
        if masks is None or self.roles.goes_on:
            return
        inside = ~masks[:-1]
        if ends is not None:
            self._tell("mask-without-end", "masks", np.flatnonzero(inside & ~ends[:-1]), "0 where no episode ends")
        elif last is not None:
            inside &= ~last[:-1] & ~last[1:]
            self._tell("mask-without-end", "masks", np.flatnonzero(inside), "0 where no episode ends")

    def _check_numbers(self, episodes: NDArray[Any]) -> None:
        """Whether the rows of an episode stand together, and end where ends say so."""
        change = episodes[1:] != episodes[:-1]
        begins = np.append(0, np.flatnonzero(change) + 1)
        _, first = np.unique(episodes[begins], return_index=True)
        again = np.delete(begins, first)
        self._tell("number-returns", "episodes", again, f"{episodes[again[0]]} again" if again.size else "")
        if (ends := self.flags.get("ends")) is not None:
            named = self.names["episodes"]
            self._tell("end-inside", "ends", np.flatnonzero(change != ends[:-1]), "another end", episodes=named)

    def _check_following(
        self, observations: NDArray[Any], following: NDArray[Any], episodes: NDArray[Any] | None
    ) -> None:
        """Whether the observation after a step is that of the following row."""
        if not self._check_successors(observations, following):
            return
        named = self.names["observations"]
        ended = self._terminals | self.flags.get("ends", self._terminals)
        if episodes is not None:
            ended[:-1] |= episodes[1:] != episodes[:-1]
        ended[-1:] = True
        with np.errstate(all="ignore"):  # NaN and infinity are told elsewhere
            jumps = np.flatnonzero(recording.jumps(observations, following) & ~ended)
        if self.roles.of_d4rl:
            role = "ends" if "ends" in self.names else "terminals"
            self._tell("unmarked-jump", role, jumps, f"0 in {jumps.size} such rows")
        else:
            told = f"another one in {jumps.size} rows"
            self._tell("next-differs", "next_observations", jumps, told, observations=named)

    def _check_successors(self, observations: NDArray[Any], following: NDArray[Any]) -> bool:
        """Whether next observations are of the same sensor, and others than the observations."""
        name, named = self.names["next_observations"], self.names["observations"]
        if following.shape != observations.shape or following.dtype.names != observations.dtype.names:
            self.problems.add("next-shape", self.path, name, found=f"{following.shape}", observations=named)
            return False
        if np.array_equal(following, observations) and not np.array_equal(observations[1:], observations[:-1]):
            self.problems.add("next-repeats", self.path, name, found="the same in all rows", observations=named)
            return False
        return True

    @property
    def _terminals(self) -> NDArray[np.bool_]:
        """Where the task ended; nowhere, if no column says so."""
        return self.flags.get("terminals", np.zeros(self._rows, bool))
