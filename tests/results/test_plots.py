"""Tables and pictures come from raw rows alone."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from guidedflow.errors import InputError
from guidedflow.results import canvas, plots, tables
from guidedflow.results.rows import Episode, episode


def rows(step: int, seed: int, successes: list[float], policy: str = "actor") -> list[Episode]:
    shared = {"task": "line", "step": step, "seed": seed, "policy": policy, "source": "training", "length": 1}
    return [
        episode(**shared, **{"episode": i, "episode_seed": i, "return": 10.0 * step, "success": success})
        for i, success in enumerate(successes)
    ]


def test_a_learning_curve_is_drawn_from_the_rows_of_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="runs/bc was not evaluated while it trained"):
        plots.learning_curve({"runs/bc": []}, tmp_path / "curve.png", "line")
    found = [*rows(10, 0, [1, 0]), *rows(20, 0, [1, 1], "flow")]
    picture = plots.learning_curve({"runs/bc": found}, tmp_path / "pictures" / "curve.png", "line")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_task_without_success_is_drawn_by_its_returns(tmp_path: Path) -> None:
    lost = [episode(**{**row, "success": None}) for row in (*rows(1, 0, [0]), *rows(2, 0, [0, 0]))]
    picture = plots.learning_curve({"hopper": lost}, tmp_path / "curve.svg", "mujoco/hopper/medium-v0").read_text()
    assert ">return</text>" in picture
    assert "success" not in picture


def test_a_markdown_table() -> None:
    assert tables.markdown(["method", "n"], [["GFP", "50"]]) == "| method | n |\n| --- | ---: |\n| GFP | 50 |\n"


def test_a_summary_tells_every_entry_on_a_line_and_nothing_of_what_is_not_there() -> None:
    console = Console(record=True, width=40, file=io.StringIO())
    told = {"success": [0.5, 1.0], "task": "line", "return_mean": -1.23456}
    tables.print_summary({**told, "weight": None, "success_by_task": [None, None]}, console)
    assert [line.split() for line in console.export_text().splitlines()] == [
        ["success", "0.500", "1.000"], ["task", "line"], ["return_mean", "-1.235"]
    ]  # fmt: skip


def drawn(figure: object) -> str:
    """A picture as the text of an SVG element."""
    return canvas.svg(figure, "test")


def test_a_curve_is_the_mean_over_seeds_with_its_interval_from_three_seeds_on() -> None:
    found = [row for seed in (0, 1, 2) for step in (10, 20) for row in rows(step, seed, [1, 0, seed > 0, 1])]
    (axes,) = plots.learning_curves({"FQL": found}).axes
    (line,) = axes.get_lines()
    assert line.get_xdata().tolist() == [10, 20]
    assert line.get_ydata() == pytest.approx([100 * 8 / 12] * 2)
    assert line.get_label() == "FQL (3 seeds × 4 episodes)"
    assert len(axes.collections) == 1  # the band
    (axes,) = plots.learning_curves({"FQL": [row for row in found if row["seed"] < 2]}).axes
    assert len(axes.collections) == 0
    assert len(axes.get_lines()) == 3  # each of two seeds, and the mean


def test_smoothing_averages_consecutive_evaluations_and_says_so() -> None:
    found = [row for step, value in ((1, 0), (2, 1), (3, 1)) for row in rows(step, 0, [value, value])]
    (axes,) = plots.learning_curves({"FQL": found}, smoothing=2).axes
    assert axes.get_lines()[-1].get_ydata() == pytest.approx([0, 50, 100])
    assert "mean of 2 consecutive evaluations" in axes.get_xlabel()
    with pytest.raises(InputError, match="smoothing must be at least 1"):
        plots.learning_curves({"FQL": found}, smoothing=0)


def test_weights_stand_evenly_apart_and_rows_without_a_weight_are_no_points() -> None:
    found = [{**row, "weight": w} for w in (0.1, 3.0, 30.0) for row in rows(1, 0, [w > 1])]
    (axes,) = plots.weight_curves({"QGF": [*found, *rows(1, 0, [1])]}).axes  # type: ignore[list-item]
    assert axes.get_lines()[-1].get_ydata() == pytest.approx([0, 100, 100])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.1", "3", "30"]
    with pytest.raises(InputError, match="evaluated with guidance"):
        plots.weight_curves({"BC": rows(1, 0, [1])})


def test_a_heat_map_states_the_mean_seeds_and_episodes_of_each_cell() -> None:
    cells = {(0.3, 1.0): rows(1, 0, [1, 0]), (3.0, 1.0): [*rows(1, 0, [1, 1]), *rows(1, 1, [1, 1])]}
    picture = drawn(plots.heat_map(cells, ("alpha", "temperature")))
    for text in ("50.0", "100.0", "1 × 2", "2 × 2", "alpha", "temperature", "0.3"):
        assert f">{text}</text>" in picture or f">{text}</tspan>" in picture
    stopped = {(0.3, 1.0): rows(250, 0, [1, 0]), (3.0, 1.0): rows(1000, 0, [1, 1])}
    assert "at 1,000" in drawn(plots.heat_map(stopped, ("alpha", "temperature")))


def test_every_method_of_a_tuning_budget_has_as_many_arms() -> None:
    policies = {str(i): rows(1, i, [1, 0, 1]) for i in range(3)}
    (axes,) = plots.tuning_budget({"GFP": policies, "FQL": dict(list(policies.items())[:2])}, pulls=20).axes
    assert "2 policies in each draw" in axes.get_xlabel()
    assert [line.get_label() for line in axes.get_lines()] == ["GFP (3 policies)", "FQL (2 policies)"]
    with pytest.raises(InputError, match="two trained policies"):
        plots.tuning_budget({"GFP": {"0": rows(1, 0, [1])}})


def test_text_from_runs_is_drawn_as_it_stands() -> None:
    name = "_$\\frac{1}$ <script>alert(1)</script> & 中\x00 --> x" + 200 * "y"
    picture = drawn(plots.learning_curves({name: rows(1, 0, [1])}, name))
    assert "<script" not in picture
    assert "$" in picture
    assert "\x00" not in picture


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_rows_give_the_same_bytes(kind: str, tmp_path: Path) -> None:
    figures = [plots.learning_curves({"FQL": rows(1, 0, [1])}) for _ in range(2)]
    first, second = (canvas.save(f, tmp_path / f"{i}.{kind}").read_bytes() for i, f in enumerate(figures))
    assert first == second
    with pytest.raises(InputError, match=r"\.png, \.svg or \.pdf file, but .*curve\.jpg is not"):
        canvas.save(figures[0], tmp_path / "curve.jpg")
