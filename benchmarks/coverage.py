"""Coverage of every interval in `guidedflow.results`, on synthetic results whose true value is known.

    python benchmarks/coverage.py [--json] [--repetitions 2000] [--seeds 3 5 8 20] [--only success]

A row is a population, a column a number of training seeds. A cell is the percentage of repetitions whose interval
contains the true value, and the mean width. Intervals that are common elsewhere stand below ours, marked by a dash.
A repetition without an interval counts as a miss. The true values come from 400,000 draws.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from guidedflow.results import aggregates, statistics
from guidedflow.results.confidence import Interval, binomial
from guidedflow.results.tables import markdown

Array = NDArray[np.float64]
Generator = np.random.Generator
Ends = tuple[float, float] | None
Estimator = Callable[[Any], Ends]

EPISODES = 50
MANY = 400_000
RESAMPLES = 500


class Population(NamedTuple):
    """Results of a given number of seeds, and the true value that an interval should contain."""

    name: str
    draw: Callable[[Generator, int], Any]
    truth: float


class Study(NamedTuple):
    """Intervals that are compared on the same repetitions of each population; the first is the library's."""

    intervals: dict[str, Estimator]
    populations: Callable[[], Iterator[Population]]


def ends(interval: Interval | None) -> Ends:
    return None if interval is None else (interval.low, interval.high)


# Success and return of a method on a task: [seeds, episodes].


def tries(generator: Generator, seeds: int, logit: float, of_seeds: float, of_episodes: float) -> Array:
    """Success of episodes whose log odds are `logit` plus normal effects of the seed and of the episode."""
    odds = logit + of_seeds * generator.normal(size=(seeds, 1)) + of_episodes * generator.normal(size=(1, EPISODES))
    return (generator.random((seeds, EPISODES)) < special.expit(odds)).astype(np.float64)


def rate(logit: float, of_seeds: float, of_episodes: float) -> float:
    odds = logit + math.hypot(of_seeds, of_episodes) * np.random.default_rng(1).normal(size=MANY)
    return float(special.expit(odds).mean())


def collapsing(generator: Generator, seeds: int, failing: float, good: float) -> Array:
    """Success of episodes where a training seed fails altogether with probability `failing`."""
    chances = np.where(generator.random((seeds, 1)) < failing, 0.0, good)
    return (generator.random((seeds, EPISODES)) < chances).astype(np.float64)


def success_populations() -> Iterator[Population]:
    spreads = {"alike": (0.0, 0.0), "seeds": (1.0, 0.0), "episodes": (0.3, 2.0), "both": (1.0, 1.0)}
    for logit in (0.0, 1.5, 3.0, 4.5):
        for name, (s, e) in spreads.items():
            truth = rate(logit, s, e)
            draw = partial(tries, logit=logit, of_seeds=s, of_episodes=e)
            yield Population(f"{truth:.2f}, {name}", draw, truth)


def collapsing_populations() -> Iterator[Population]:
    for failing, good in ((0.1, 0.95), (0.2, 0.9), (0.5, 0.8)):
        name = f"{failing:.0%} of seeds fail, the others reach {good}"
        yield Population(name, partial(collapsing, failing=failing, good=good), (1 - failing) * good)


def returns(generator: Generator, seeds: int, of_seeds: float, of_episodes: float) -> Array:
    """Normal returns with effects of the seed, of the episode, and of both."""
    effects = of_seeds * generator.normal(size=(seeds, 1)) + of_episodes * generator.normal(size=(1, EPISODES))
    return effects + 3 * generator.normal(size=(seeds, EPISODES))


def score_populations() -> Iterator[Population]:
    for name, s, e in (("alike", 0.0, 0.0), ("seeds", 1.0, 0.0), ("episodes", 0.3, 2.0), ("both", 1.0, 2.0)):
        yield Population(f"normal, {name}", partial(returns, of_seeds=s, of_episodes=e), 0.0)


def duel(generator: Generator, seeds: int, logits: Array, of_seeds: float, of_episodes: float) -> Array:
    """Success of two methods on the same episodes, which share half of the variance of their seeds."""
    shared, own = generator.normal(size=(1, seeds, 1)), generator.normal(size=(2, seeds, 1))
    odds = logits[:, None, None] + of_seeds * (shared + own) / math.sqrt(2)
    odds = odds + of_episodes * generator.normal(size=(1, 1, EPISODES))
    return (generator.random((*odds.shape[:2], EPISODES)) < special.expit(odds)).astype(np.float64)


def paired_populations() -> Iterator[Population]:
    for logits in ((0.5, 0.5), (1.5, 0.5), (3.0, 1.5)):
        for name, s, e in (("alike", 0.0, 0.0), ("seeds", 1.0, 0.0), ("episodes", 0.3, 2.0)):
            first, second = (rate(logit, s, e) for logit in logits)
            draw = partial(duel, logits=np.array(logits), of_seeds=s, of_episodes=e)
            yield Population(f"{first:.2f} and {second:.2f}, {name}", draw, first - second)


def by_seed(outcomes: Array) -> dict[int, Array]:
    return dict(enumerate(outcomes))


def t_of_seeds(outcomes: Array) -> Ends:
    means = outcomes.mean(axis=1)
    half = special.stdtrit(len(means) - 1, 0.975) * means.std(ddof=1) / math.sqrt(len(means))
    return float(means.mean() - half), float(means.mean() + half)


def all_episodes(outcomes: Array) -> Ends:
    return ends(binomial(int(outcomes.sum()), outcomes.size))


def percentile_of_seeds(outcomes: Array) -> Ends:
    means = outcomes.mean(axis=1)
    resampled = np.random.default_rng(0).choice(means, (RESAMPLES, len(means))).mean(axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(low), float(high)


# Scores of a method on a suite: [tasks, seeds].


def beta(generator: Generator, seeds: int, means: Array, concentration: float) -> Array:
    return generator.beta(means * concentration, (1 - means) * concentration, (seeds, len(means))).T


def rates(generator: Generator, seeds: int, means: Array) -> Array:
    """Success rates of some episodes, of seeds that differ."""
    return generator.binomial(EPISODES, beta(generator, seeds, means, 30)) / EPISODES


def normal(generator: Generator, seeds: int, means: Array) -> Array:
    return means[:, None] + generator.normal(size=(len(means), seeds))


def suites() -> Iterator[tuple[str, Callable[[Generator, int], Array]]]:
    for tasks in (1, 5, 10):
        spread = np.linspace(0.05, 0.95, tasks) if tasks > 1 else np.array([0.7])
        ceiling = np.where(np.arange(tasks) % 2, 0.97, 0.6)
        yield f"{tasks} x wide", partial(beta, means=np.full(tasks, 0.5), concentration=4)
        yield f"{tasks} x spread", partial(beta, means=spread, concentration=30)
        yield f"{tasks} x ceiling", partial(beta, means=ceiling, concentration=30)
        yield f"{tasks} x returns", partial(normal, means=np.linspace(0, 2, tasks))
        yield f"{tasks} x rates", partial(rates, means=spread)


def suite_populations(statistic: Callable[[Array], float]) -> Callable[[], Iterator[Population]]:
    def populations() -> Iterator[Population]:
        for name, draw in suites():
            yield Population(name, draw, statistic(draw(np.random.default_rng(1), MANY)))

    return populations


def skewed(generator: Generator, seeds: int, tasks: int) -> Array:
    """Log-normal scores, whose logarithm has a standard deviation of 0.5."""
    return np.exp(0.5 * generator.normal(size=(tasks, seeds)))


def skewed_populations() -> Iterator[Population]:
    for tasks in (1, 5, 10):
        yield Population(f"{tasks} x log-normal", partial(skewed, tasks=tasks), math.exp(0.125))


def versus(generator: Generator, seeds: int, shifts: Array) -> Array:
    """Normal scores of two methods, of which the first is better by a shift a task."""
    return np.stack([normal(generator, seeds, shifts), normal(generator, seeds, 0 * shifts)])


def improvement_populations() -> Iterator[Population]:
    for tasks in (1, 5, 20):
        for name, low, high in (("0", 0, 0), ("1", 1, 1), ("2", 2, 2), ("-0.5 to 2.5", -0.5, 2.5)):
            shifts = np.linspace(low, high, tasks) if tasks > 1 else np.array([(low + high) / 2])
            truth = float(special.ndtr(shifts / math.sqrt(2)).mean())
            yield Population(f"{tasks} x better by {name}", partial(versus, shifts=shifts), truth)


def above(generator: Generator, seeds: int, chances: Array) -> Array:
    """Scores of 0 or 1."""
    return (generator.random((len(chances), seeds)) < chances[:, None]).astype(np.float64)


def profile_populations() -> Iterator[Population]:
    for tasks in (5, 20):
        chances = {
            "0.5": np.full(tasks, 0.5),
            "0.9": np.full(tasks, 0.9),
            "0.05 to 0.95": np.linspace(0.05, 0.95, tasks),
            "near 0 or 1": np.resize([0.01, 0.99, 0.5, 0.98, 0.03], tasks),
        }
        for name, each in chances.items():
            yield Population(f"{tasks} x {name}", partial(above, chances=each), float(each.mean()))


def by_task(scores: Array) -> dict[str, Array]:
    return {str(task): row for task, row in enumerate(scores)}


def middle_half(scores: Array) -> Any:
    ordered = np.sort(scores, axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)


def percentile_of_tasks(scores: Array) -> Ends:
    tasks, seeds = scores.shape
    chosen = np.random.default_rng(0).integers(seeds, size=(RESAMPLES, tasks, seeds))
    resampled = np.take_along_axis(scores[None], chosen, axis=2).reshape(RESAMPLES, -1)
    low, high = np.quantile(middle_half(resampled), [0.025, 0.975])
    return float(low), float(high)


def iqm(scores: Array) -> Ends:
    return ends(aggregates.interquartile_mean(by_task(scores), resamples=RESAMPLES).interval)


STUDIES = {
    "success": Study(
        {
            "success": lambda x: ends(statistics.success(by_seed(x)).interval),
            "- t over seeds": t_of_seeds,
            "- Wilson over all episodes": all_episodes,
            "- percentile bootstrap of seeds": percentile_of_seeds,
        },
        success_populations,
    ),
    "success, some seeds fail": Study(
        {"success": lambda x: ends(statistics.success(by_seed(x)).interval), "- t over seeds": t_of_seeds},
        collapsing_populations,
    ),
    "score": Study(
        {
            "score": lambda x: ends(statistics.score(by_seed(x)).interval),
            "- t over seeds": t_of_seeds,
            "- percentile bootstrap of seeds": percentile_of_seeds,
        },
        score_populations,
    ),
    "paired": Study(
        {
            "paired": lambda x: ends(statistics.paired(by_seed(x[0]), by_seed(x[1])).interval),
            "- t over seeds": lambda x: t_of_seeds(x[0] - x[1]),
        },
        paired_populations,
    ),
    "mean": Study(
        {"mean": lambda x: ends(aggregates.mean(by_task(x)).interval)},
        suite_populations(lambda scores: float(scores.mean())),
    ),
    "mean, skewed returns": Study(
        {"mean": lambda x: ends(aggregates.mean(by_task(x)).interval)},
        skewed_populations,
    ),
    "optimality gap": Study(
        {"optimality_gap": lambda x: ends(aggregates.optimality_gap(by_task(x), 0.9).interval)},
        suite_populations(lambda scores: float(np.maximum(0.9 - scores, 0).mean())),
    ),
    "interquartile mean": Study(
        {"interquartile_mean": iqm, "- percentile bootstrap": percentile_of_tasks},
        suite_populations(lambda scores: float(middle_half(scores.ravel()))),
    ),
    "probability of improvement": Study(
        {
            "probability_of_improvement": lambda x: ends(
                aggregates.probability_of_improvement(by_task(x[0]), by_task(x[1])).interval
            )
        },
        improvement_populations,
    ),
    "performance profile": Study(
        {"performance_profile": lambda x: ends(aggregates.performance_profile(by_task(x), [0.5]).shares[0].interval)},
        profile_populations,
    ),
}


def measure(study: Study, population: Population, seeds: int, repetitions: int) -> dict[str, tuple[float, float]]:
    """For each interval, the percentage of repetitions that contain the truth, and the mean width."""
    generator = np.random.default_rng([7, seeds])
    hits, widths = dict.fromkeys(study.intervals, 0), dict.fromkeys(study.intervals, 0.0)
    for _ in range(repetitions):
        drawn = population.draw(generator, seeds)
        for name, estimator in study.intervals.items():
            if (found := estimator(drawn)) is not None:
                hits[name] += found[0] - 1e-12 <= population.truth <= found[1] + 1e-12
                widths[name] += found[1] - found[0]
    return {name: (100 * hits[name] / repetitions, widths[name] / repetitions) for name in study.intervals}


def tables(study: Study, seeds: Sequence[int], repetitions: int) -> tuple[str, str, list[dict[str, Any]]]:
    """Every population, the range over populations, and both as rows."""
    lines: list[list[str]] = []
    rows: list[dict[str, Any]] = []
    for population in study.populations():
        found = [measure(study, population, count, repetitions) for count in seeds]
        for name in study.intervals:
            cells = [each[name] for each in found]
            lines.append([population.name, name, *(f"{covered:.1f} ({width:.3f})" for covered, width in cells)])
            covered = {str(count): cell[0] for count, cell in zip(seeds, cells, strict=True)}
            rows.append({"population": population.name, "interval": name, **covered})
    counts = [f"{count} seeds" for count in seeds]
    summary = []
    for name in study.intervals:
        columns = [[float(row[str(count)]) for row in rows if row["interval"] == name] for count in seeds]
        summary.append([name, *(f"{min(column):.1f} to {max(column):.1f}" for column in columns)])
    return markdown(["population", "interval", *counts], lines), markdown(["interval", *counts], summary), rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 8, 20])
    parser.add_argument("--only", choices=list(STUDIES), nargs="+", default=list(STUDIES))
    arguments = parser.parse_args()
    every = []
    for title in arguments.only:
        full, summary, rows = tables(STUDIES[title], arguments.seeds, arguments.repetitions)
        every += [{"study": title, **row} for row in rows]
        if not arguments.json:
            print(f"## {title}\n\n{full}\n{summary}", flush=True)
    if arguments.json:
        print(json.dumps(every))


if __name__ == "__main__":
    main()
