"""What rules promise: they fire once, name a remedy, and say what they could not see."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import made

from guidedflow.cli import main
from guidedflow.data.sampling.cutting import Cutting
from guidedflow.data.sampling.probe import explained, returns_to_go, value_limits
from guidedflow.errors import InputError
from guidedflow.results import canvas, diagnosis, diagnostics, intervals
from guidedflow.results.diagnostics import FIGURE, RULES, WARNING, Watch
from guidedflow.results.intervals import Interval
from guidedflow.runs import deaths
from guidedflow.runs.deaths import Death
from guidedflow.runs.gather import gather

DOCS = Path(__file__).parents[2] / "docs" / "diagnostics.md"


def rows(figure: str, *steps: Sequence[float | None]) -> list[Interval]:
    """A row for each list of numbers, one number a seed."""
    return [
        Interval(100 * (index + 1), 1.0, 1.0, tuple(range(len(each))), {FIGURE + figure: tuple(each)})
        for index, each in enumerate(steps)
    ]


def test_a_warning_begins_after_patience_and_ends_with_the_first_row_that_is_fine() -> None:
    found = diagnostics.warnings(rows("swapped_gain", *[[v] for v in (3.0, 0.1, 3.0, 4.0, 5.0, 6.0, 0.1)]), [0])
    (only,) = found
    assert (only.rule.name, only.step, only.figure, only.until) == ("overestimation", 500, 5.0, 700)


def test_each_seed_has_its_own_warnings_and_each_is_begun_once() -> None:
    watch = Watch([4, 7])
    begun = [watch.observe(step, {FIGURE + "swapped_gain": [0.0, 9.0]}) for step in range(1, 6)]
    assert [len(each) for each in begun] == [0, 0, 1, 0, 0]
    assert begun[2][0].seed == 7
    assert diagnostics.columns(begun[2], [4, 7])[WARNING + "overestimation"].tolist() == [0.0, 1.0]
    assert "https://" in begun[2][0].sentence


def test_a_resumed_watch_goes_on_where_the_rows_end() -> None:
    written = rows("swapped_gain", [3.0], [3.0])
    watch = Watch([0])
    watch.replay(written)
    assert [each.step for each in watch.observe(300, {FIGURE + "swapped_gain": np.float32([3.0])})] == [300]


def test_unknown_figures_break_no_rule() -> None:
    assert not diagnostics.warnings(rows("swapped_gain", *[[None]] * 5), [0])
    assert not any(rule.broken_by(math.nan) for rule in RULES)


def test_rules_have_names_of_their_own_and_stand_on_the_page() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    headings = re.findall(r"^### (.+)$", DOCS.read_text(), flags=re.MULTILINE)
    assert [heading for heading in headings if heading in {rule.name for rule in RULES}] == [r.name for r in RULES]


def test_diagnose_tells_the_warnings_as_json_and_draws_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(tmp_path / "run", seeds=(0, 1))
    intervals.replace(run / "metrics.jsonl", rows("edge_data", [0.1, 0.9], [0.1, 0.9]))
    main(["diagnose", str(run), "--json", "-o", str(tmp_path / "picture.png")])
    told = json.loads(capsys.readouterr().out)
    (only,) = told["warnings"]
    assert (only["rule"], only["step"], only["seed"]) == ("actions-clipped", 100, 1)
    assert only["figure"]["value"] == 0.9
    assert "rescale" in only["remedy"]
    assert {each["rule"] for each in told["missing"]} == {rule.name for rule in RULES} - {"actions-clipped"}
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_diagnose_of_a_run_without_figures_says_which_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(tmp_path / "run")
    main(["diagnose", str(run)])
    told = capsys.readouterr()
    assert "0 of 0 rules hold" in told.out
    assert all(rule.figure in told.out for rule in RULES)
    assert "no picture" in told.err
    assert not (run / "diagnosis.png").exists()
    (run / "metrics.jsonl").unlink()
    with pytest.raises(SystemExit):
        main(["diagnose", str(run)])
    assert "no rows of metrics yet" in capsys.readouterr().err


def test_a_report_shows_warnings_and_dead_seeds(tmp_path: Path) -> None:
    run = made(tmp_path / "run", seeds=(0, 1))
    intervals.replace(run / "metrics.jsonl", rows("edge_data", [0.1, 0.9]))
    deaths.write(run, [Death(1, 1234, ("critic_loss",), "the gradient of critic.network.weight")])
    found = gather([run])
    (section,) = diagnosis.section(found.records)
    assert [cell.text for cell in section.sheets[0].rows[0]][1:3] == ["actions-clipped", "1"]
    assert any("seed 1 is dead: critic_loss" in told and "1,234" in told for told in found.left_out)
    intervals.replace(run / "metrics.jsonl", rows("edge_data", [0.1, 0.1]))
    assert not diagnosis.section(gather([run]).records)


def test_deaths_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = [Death(3, 20, (), "state.count"), Death(1, 10, ("loss",), None)]
    deaths.write(tmp_path, found)
    assert deaths.read(tmp_path) == found[::-1]
    assert deaths.at(found, 15).keys() == {1}
    assert deaths.healthy([0, 1, 2, 3], {1, 3}) == [0, 2]
    (tmp_path / deaths.NAME).write_text("{}")
    with pytest.raises(InputError, match="no list of dead seeds"):
        deaths.read(tmp_path)
    deaths.write(tmp_path, [])
    assert deaths.read(tmp_path) == []


def test_a_picture_marks_the_stretches(tmp_path: Path) -> None:
    found = diagnosis.diagnose(rows("swapped_gain", *[[v, 0.1] for v in (3.0, 3.0, 3.0, 3.0, 0.1)]), [0, 1])
    picture = found.picture("run_$x$")
    assert picture is not None
    drawn = picture.draw()
    assert len(drawn.axes[0].patches) == 1
    canvas.save(drawn, tmp_path / "picture.svg")


def test_returns_to_go_are_discounted_rewards_to_the_end_of_an_episode() -> None:
    from tiny_data import line

    data = line(episodes=3, length=20)
    cut = Cutting(discount=0.5).of(data, None)
    found = returns_to_go(cut, np.arange(len(cut)))
    rewards, discounts = np.asarray(cut.rewards), np.asarray(cut.discounts)
    expected, weight = 0.0, 1.0
    for index in range(3, 20):
        expected, weight = expected + weight * rewards[index], weight * discounts[index]
        if weight == 0:
            break
    assert found[3] == pytest.approx(expected, abs=1e-2)
    assert np.isnan(found[19]) == bool(discounts[19] > 0.1)  # what follows the last row is not known


@pytest.mark.parametrize(
    ("rewards", "discount", "limits"),
    [([-1, 0], 0.99, (-100, 0)), ([0, 1], 0.9, (0, 10)), ([0, 0], 1.0, (0, 0)), ([1, 2], 1.0, (1, math.inf))],
)
def test_limits_of_values(rewards: list[float], discount: float, limits: tuple[float, float]) -> None:
    assert value_limits(np.float32(rewards), discount) == pytest.approx(limits, rel=1e-5)


def test_actions_are_explained_by_the_states_around_them_unless_they_are_shuffled() -> None:
    random = np.random.default_rng(0)
    states, actions = random.standard_normal((400, 3)), random.standard_normal((400, 2))
    after = states.copy()
    after[:, 0] += actions[:, 0]
    inputs: Any = np.concatenate([states, after], axis=1)
    assert explained(inputs, actions) > 0.99
    assert explained(inputs, random.permutation(actions)) < 0.05
