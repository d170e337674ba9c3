"""The diagnosis of one run: its warnings, what could not be looked at, and a picture of the figures over time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from guidedflow.results import canvas, diagnostics
from guidedflow.results.counts import plural
from guidedflow.results.diagnostics import FIGURE, RULES, Rule, Warned
from guidedflow.results.intervals import Interval
from guidedflow.results.records import RunRecord
from guidedflow.results.sections import Picture, Section
from guidedflow.results.tables import Sheet, Shown


@dataclass(frozen=True)
class Diagnosis:
    """What the figures of a run say."""

    warnings: Sequence[Warned]
    missing: Sequence[Rule]
    """Rules whose figure the run does not have."""
    rows: Sequence[Interval]
    seeds: Sequence[int]

    def plain(self) -> dict[str, Any]:
        """JSON's own types."""
        absent = [{"rule": rule.name, "figure": rule.figure} for rule in self.missing]
        return {"warnings": [each.plain() for each in self.warnings], "missing": absent}

    def text(self) -> str:
        """Lines for a terminal."""
        lines = [_paragraph(each) for each in self.warnings]
        found = sorted({each.rule.name for each in self.warnings})
        looked = len(RULES) - len(self.missing)
        told = ": " + ", ".join(found) if found else ", so there is no warning" if looked else ""
        lines.append(f"{len(found)} of {looked} rules hold{told}.")
        if self.missing:
            told = ", ".join(f"{rule.figure} (rule {rule.name})" for rule in self.missing)
            lines.append(f"Not judged, since the run has no number for the figure: {told}.")
        return "\n".join(lines)

    def picture(self, title: str) -> Picture | None:
        """Every figure with a rule, and the stretches in which the rule holds; None without any figure."""
        shown = [rule for rule in RULES if rule not in self.missing]
        if not shown or not self.rows:
            return None
        caption = (
            "Figures with a rule, against updates; a line for each seed. Dashed: the threshold. Shaded: where the rule "
            "holds for any seed."
        )
        return Picture(partial(_draw, shown, self.rows, self.warnings, title), caption)


def diagnose(rows: Sequence[Interval], seeds: Sequence[int]) -> Diagnosis:
    """The diagnosis of the rows of a run."""
    return Diagnosis(diagnostics.warnings(rows, seeds), diagnostics.missing(rows), rows, seeds)


def section(records: Sequence[RunRecord]) -> list[Section]:
    """A section of a report: the warnings of all runs, and how many have no figures; none where all are silent."""
    rows, without = [], 0
    for record in records:
        found = diagnose(record.intervals, record.seeds)
        without += len(found.missing) == len(RULES)
        for each in found.warnings:
            step = Shown(f"{each.step:,}", "" if each.until is None else f"until {each.until:,}", each.step)
            rows.append([
                Shown(record.path, sort=record.path), Shown(each.rule.name, sort=each.rule.name),
                Shown(str(each.seed), sort=each.seed), step,
                Shown(f"{each.rule.figure} {each.figure:.3g}", _limit(each.rule), each.figure),
                Shown(each.rule.meaning), Shown(each.rule.remedy),
            ])  # fmt: skip
    unseen = f"No rule looked at {without} of {plural(len(records), 'run')}, for lack of figures."
    told = [unseen] if without else []
    if not rows and (not told or without == len(records)):
        return []
    headers = ["run", "rule", "seed", "since update", "figure", "usual meaning", "remedy"]
    sheets = [Sheet("Warnings", headers, rows, f"Each rule is explained at {diagnostics.PAGE}.")] if rows else []
    return [Section("Diagnostics", told, sheets)]


def _limit(rule: Rule) -> str:
    return f"{rule.side} {rule.threshold:g}"


def _paragraph(each: Warned) -> str:
    until = "to the end" if each.until is None else f"until step {each.until:,}"
    return (
        f"{each.rule.name} (seed {each.seed}, from step {each.step:,} {until})\n"
        f"  figure   {each.rule.figure} = {each.figure:.4g}, {_limit(each.rule)}\n"
        f"  meaning  {each.rule.meaning}\n  remedy   {each.rule.remedy}\n  more     {each.rule.link}\n"
    )


def _draw(shown: Sequence[Rule], rows: Sequence[Interval], found: Sequence[Warned], title: str) -> Any:
    from matplotlib.figure import Figure

    wide, steps = 3, [row.step for row in rows]
    tall = math.ceil(len(shown) / wide)
    figure = Figure(figsize=(4.0 * wide, 2.1 * tall + 0.5), dpi=150, layout="constrained")
    figure.suptitle(canvas.as_is(title), fontsize=10)
    axes = figure.subplots(tall, wide, squeeze=False, sharex=True).ravel()
    for index, drawn in enumerate(axes):
        if index >= len(shown):
            drawn.set_axis_off()
            continue
        rule = shown[index]
        _panel(drawn, rule, rows, steps, [each for each in found if each.rule.name == rule.name])
        if index + wide >= len(shown):
            drawn.tick_params(labelbottom=True)
            drawn.set_xlabel("updates", fontsize=8)
    return figure


def _panel(drawn: Any, rule: Rule, rows: Sequence[Interval], steps: Sequence[int], found: Sequence[Warned]) -> None:
    values = [row.metrics.get(FIGURE + rule.figure, ()) for row in rows]
    seeds = max(map(len, values))
    for seed in range(seeds):
        line = [each[seed] if seed < len(each) and each[seed] is not None else math.nan for each in values]
        drawn.plot(steps, line, marker="." if len(steps) < 40 else None, lw=1.2, **canvas.style(seed))
    drawn.axhline(rule.threshold, color="black", ls="--", lw=0.8)
    for each in found:
        drawn.axvspan(each.step, steps[-1] if each.until is None else each.until, color="#EE6677", alpha=0.2, lw=0)
        if each.until is None and each.step == steps[-1]:
            drawn.axvline(each.step, color="#EE6677", lw=2, alpha=0.5)
    mark = "  (holds)" if found else ""
    drawn.set_title(canvas.as_is(f"{rule.name}: {rule.figure}{mark}"), fontsize=8)
    drawn.tick_params(labelsize=7)
    drawn.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    drawn.grid(alpha=0.25)
    drawn.spines[["top", "right"]].set_visible(False)
