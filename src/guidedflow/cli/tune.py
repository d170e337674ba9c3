"""`guidedflow tune`: settings chosen by a paper's protocol, then run on reported seeds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from guidedflow import files
from guidedflow.cli.sweep import Many, console
from guidedflow.data.formats.columns import Columns
from guidedflow.errors import InputError
from guidedflow.evaluation.recorded import Judge
from guidedflow.recipes.protocols import Protocol, protocol
from guidedflow.results import tables
from guidedflow.results.counts import plural
from guidedflow.sweeps import grid
from guidedflow.sweeps.board import Board
from guidedflow.sweeps.driver import Ended, sweep
from guidedflow.sweeps.estimate import estimate
from guidedflow.sweeps.grid import Grid, Planned
from guidedflow.sweeps.left import Judging
from guidedflow.sweeps.offline import LIMITS, Offline, check_known
from guidedflow.sweeps.tuning import Halving, Study, check_seeds, planned, record, tune, winners


@dataclass(frozen=True)
class Tune(Many):
    """Choose the settings of every algorithm on every task on tuning seeds and episodes, then run the winners.

    The papers' protocols, by successive halving; reported seeds and episodes are others. With --offline no simulator is
    needed. Give the same command again to
    go on after an interrupt.
    """

    grid: tuple[str, ...] = ()
    """Values in place of the protocol's, such as gfp.alpha=0.1,1 gfp.temperature=1e-3,1e-2, a stage each."""
    tuning_seeds: int = 2
    """Training seeds of each value, from 100 on."""
    tuning_episodes: int = 20
    """Episodes of each value, seed and rung."""
    rungs: int = 3
    """Comparisons on the way; after each the better half goes on to twice the updates."""
    dry_run: bool = False
    """List what would be tried, with an estimate of hours, and train nothing."""
    offline: bool = False
    """Rank values without a simulator, by the return that fitted Q evaluation estimates for each run.

    The estimate is too high for policies whose actions no data covers, and it is a discounted return, not success."""
    held_out: Path | None = None
    """Episodes on which --offline ranks, such as `guidedflow data split` wrote; by default those of the training."""
    judge_steps: int = Judge.steps
    """Updates of the critics of --offline."""
    judge_transitions: int = Judge.transitions
    """Held-out transitions of --offline, at most."""

    def run(self) -> None:
        if self.print_config:
            print(self.configuration())
            return
        check_known(
            self.offline, held_out=self.held_out, judge_steps=self.judge_steps != Judge.steps,
            judge_transitions=self.judge_transitions != Judge.transitions,
        )  # fmt: skip
        criterion = self._criterion() if self.offline else None
        halving = Halving(self.rungs, self.tuning_seeds, episodes=self.tuning_episodes)
        check_seeds(self.plan, halving)
        studies = self._studies()
        if self.dry_run:
            self._list(studies, halving)
            return
        with Board(console) as board:

            def carry_out(runs: Sequence[Planned], judging: Judging) -> Ended:
                self.check_data(runs, judging)
                return sweep(runs, judging, self.backend, board.begun, board.report, board.watch)

            tune(studies, halving, carry_out, criterion)
            for study in studies:
                if criterion is not None:
                    study.criterion = {**criterion.plain(), "measured": criterion.of(study.base.out)}
                record(study)
            ended = carry_out(winners(studies), Judging(self.episodes))
        files.write_json(self.out / "tuning.json", [study.plain() for study in studies])
        if self.json:
            print(json.dumps({"studies": [study.plain() for study in studies], "failed": ended.failed}))
        else:
            self._print(studies)
        if ended.failed:
            raise SystemExit(1)

    def _list(self, studies: Sequence[Study], halving: Halving) -> None:
        """Print what would be tried, how many updates it takes, and how long that is here."""
        runs = [(study, planned(study, halving)) for study in studies]
        expected = estimate([run for _, listed in runs for run in listed], self.backend.workers)
        told: list[dict[str, Any]] = [
            {
                "task": study.base.task,
                "algorithm": study.base.name,
                "stages": {setting: list(values) for setting, values in study.protocol.stages},
                "updates": sum(run.plan.steps for run in listed),
            }
            for study, listed in runs
        ]
        if self.json:
            print(json.dumps({"studies": told, "hours": round(expected.hours, 2)}))
            return
        for each in told:
            stages = "; ".join(f"{key} of {' '.join(map(grid.in_word, v))}" for key, v in each["stages"].items())
            updates = plural(each["updates"], "update")
            print(f"{each['task']}  {each['algorithm']}: {stages or 'nothing to choose'}: {updates}")
        each_rungs = dict.fromkeys(", ".join(f"{step:,}" for step in halving.steps(s.base.plan)) for s in studies)
        rungs = " or ".join(each_rungs)
        print(
            f"{plural(len(told), 'study')}, rungs of {rungs} updates, {plural(halving.seeds, 'tuning seed')}: about "
            f"{expected.hours:,.1f} hours on {plural(self.backend.workers, 'worker')} without evaluations."
        )

    def _criterion(self) -> Offline:
        if self.tuning_episodes != Tune.tuning_episodes:
            raise InputError("--tuning-episodes changes nothing with --offline, which plays no episodes; leave it out.")
        if self.held_out is not None and not self.held_out.expanduser().exists():
            raise InputError(f"--held-out: there is no file or folder {self.held_out}.")
        columns = Columns.parse(self.columns) if self.columns else None
        judge = Judge(steps=self.judge_steps, transitions=self.judge_transitions)
        return Offline(judge, self.held_out, columns)

    def _studies(self) -> list[Study]:
        values = grid.parse(self.grid)
        for name in values:
            if name.rpartition(".")[2] in grid.PLANNED:
                raise InputError(
                    f"tune chooses settings of algorithms, and {name} is the plan's; use sweep --grid for it."
                )
        runs = self.runs({})
        grid.expand(self.names[:1], self.algorithms, values, self.plan, self.out)  # names that do not exist
        first = {(run.task, run.name): run for run in reversed(runs)}
        return [self._study(run, values) for run in first.values()]

    def _study(self, run: Planned, values: Grid) -> Study:
        own = {
            key.rpartition(".")[2]: tuple(grid.meant(run.algorithm, key.rpartition(".")[2], value) for value in listed)
            for key, listed in values.items()
            if key.rpartition(".")[0] in ("", run.name) and hasattr(run.algorithm, key.rpartition(".")[2])
        }
        chosen = Protocol(tuple(own.items())) if own else protocol(run.name)
        folder: Path = run.out.parent
        plan = replace(run.plan, seed=self.plan.seed, seeds=self.plan.seeds)
        return Study(replace(run, out=folder, plan=plan), chosen)

    def _print(self, studies: Sequence[Study]) -> None:
        lines = [
            [
                study.base.task,
                study.base.name,
                " ".join(f"{key}={grid.in_word(value)}" for key, value in study.chosen.items()),
                *(f"{spent:,}" for spent in (len(study.seen), study.updates, study.episodes)),
            ]
            for study in studies
        ]
        headers = ["task", "algorithm", "chosen", "settings tried", "updates", "episodes"]
        how = (
            "chosen without a simulator, by fitted Q evaluation"
            if self.offline
            else "chosen on tuning seeds and episodes"
        )
        Console().print(tables.table(headers, lines, how))
        if self.offline:
            console.print(LIMITS, markup=False, highlight=False, soft_wrap=True)
        told = f"reported: guidedflow report {self.out} -o {self.out}/report.html"
        console.print(told, markup=False, highlight=False, soft_wrap=True)
