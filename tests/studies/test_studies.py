"""The studies that need no run: a flow in closed form, and what guidance makes of it."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow import studies
from guidedflow.cli import main
from guidedflow.errors import InputError
from guidedflow.flows.sampling import Sampler
from guidedflow.studies.finding import Finding
from guidedflow.studies.scale import Scale
from guidedflow.studies.toy import BEST, MODES, SPREAD, Exact, Fitted, Toy, noises, sample


@pytest.fixture(scope="module")
def toy() -> Finding:
    return Toy(samples=500).measure()


def best(finding: Finding, method: str, name: str) -> float:
    return max(row[name] for row in finding.of(method=method))


def test_the_velocity_in_closed_form_makes_the_mixture() -> None:
    """With many Euler steps the moments of its samples are those of three equal modes."""
    actions = np.asarray(sample(Sampler(steps=200), Exact(), noises(4000, 1)))
    variance = np.mean(np.square(MODES)) + SPREAD**2
    assert np.mean(actions) == pytest.approx(0, abs=5 * np.sqrt(variance / 4000))
    assert np.var(actions) == pytest.approx(variance, rel=0.05)
    for mode in MODES:
        near = actions[np.abs(actions - mode) < 0.35]
        assert len(near) / len(actions) == pytest.approx(1 / 3, abs=0.04)
        assert np.mean(near) == pytest.approx(mode, abs=0.02)
        assert np.std(near) == pytest.approx(SPREAD, rel=0.1)


def test_a_fitted_critic_is_right_near_the_modes_and_knows_nothing_far_away() -> None:
    fitted, exact = Fitted(), Exact()
    for a in (-0.75, -0.7, -0.05, 0.0, 0.05, 0.6, 0.7):
        action = jnp.array([a])
        assert float(fitted(action, 1.0)) == pytest.approx(float(exact(action, 1.0)), abs=0.1)
    assert float(fitted(jnp.array([5.0]), 1.0)) == pytest.approx(float(fitted.mean), abs=1e-6)
    assert float(jax.grad(lambda a: fitted(a, 1.0))(jnp.array([-3.0]))[0]) == pytest.approx(0, abs=1e-6)


def test_qgf_and_backpropagation_reach_the_best_mode_and_the_noisy_gradient_does_not(toy: Finding) -> None:
    (unguided,) = toy.of(method="none")
    assert unguided["best_mode"] == pytest.approx(1 / 3, abs=0.08)
    assert best(toy, "denoised", "best_mode") > 0.98
    assert best(toy, "rollout", "best_mode") > 0.88
    assert best(toy, "noisy", "best_mode") < 0.86
    assert best(toy, "denoised", "value") > best(toy, "noisy", "value") + 0.15


def test_backpropagation_is_unstable_at_large_weights(toy: Finding) -> None:
    rows = toy.of(method="rollout")
    assert rows[-1]["weight"] == 100
    assert rows[-1]["best_mode"] < 0.2


def test_densities_are_densities(toy: Finding) -> None:
    widths = np.diff(toy.notes["edges"])
    for row in toy.rows:
        assert np.sum(np.array(row["density"]) * widths) == pytest.approx(1)


def test_under_the_exact_value_the_noisy_gradient_is_as_good() -> None:
    """What the page says: the claim is about critics that were fitted to clean actions."""
    found = Toy(samples=500, critic="exact", weights=(1.6, 2.0)).measure()
    assert best(found, "noisy", "best_mode") > 0.9


def test_the_plain_weight_moves_with_the_rewards_and_the_normalised_one_stays() -> None:
    finding = Scale(samples=300).measure()
    assert 5 < finding.notes["moved_by_factor"]["plain"] < 20
    assert finding.notes["moved_by_factor"]["normalised"] < 3
    first, tenfold = finding.of(gradient="plain")
    assert tenfold["best_weight"] < first["best_weight"]
    assert all(row["best_mode"] > 0.9 for row in finding.rows)


def test_a_study_is_a_table_a_json_object_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["study", "toy", "--samples", "500", "--weights", "0.5", "2", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["study"], told["picture"]) == ("toy", "study-toy.png")
    assert [row["method"] for row in told["rows"][:3]] == ["none", "noisy", "noisy"]
    assert told["settings"]["weights"] == [0.5, 2.0]
    assert (tmp_path / "study-toy.png").read_bytes()[:4] == b"\x89PNG"
    main(["study", "scale", "--samples", "300", "--out", "scale.png"])
    shown = capsys.readouterr()
    assert "normalised" in shown.out
    assert "picture: scale.png" in shown.err
    assert sorted(os.listdir()) == ["scale.png", "study-toy.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("study toi", "unknown argument 'toi' (did you mean 'toy'?)"),
        ("study toy --out nowhere/x.png", "there is no folder nowhere"),
        ("study toy --out x.jpg", "let its name end in .png"),
        ("study toy --samples 0", "samples must be at least 1"),
        ("study toy --weights -1", "weights must be at least 0"),
        ("study toy --weights", "weights must have at least one value."),
        ("study scale --scales", "scales must have at least one value."),
        ("study toy --critic perfect", "invalid choice 'perfect'"),
        ("study weight", "missing argument RUN"),
        ("study sensitivity nowhere", "There is no run at nowhere"),
    ],
)
def test_a_mistake_gets_one_sentence_and_leaves_nothing(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(arguments.split())
    told = capsys.readouterr()
    assert (left.value.code, told.out) == (2, "")
    assert told.err.count("\n") == 1
    assert sentence in told.err
    assert os.listdir() == []


def test_only_what_is_in_the_table_has_a_name() -> None:
    assert {name: type(study()) for name, study in studies.STUDIES.items()} == studies.STUDIES
    assert all(studies.name_of(study()) == name for name, study in studies.STUDIES.items())
    assert BEST in MODES
    with pytest.raises(InputError, match="no folder"):
        studies.conduct(Toy(), out="nowhere/x.png")
