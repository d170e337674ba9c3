"""Robust pessimistic value iteration: parity with its published code, and plans that survive other dynamics."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guidedflow.errors import InputError
from guidedflow.studies import pessimism
from guidedflow.studies.pessimism import Log, Pessimism
from guidedflow.studies.robust import Chain, Put, Robust


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], Log]:
    with np.load(path, allow_pickle=False) as arrays:
        file = {name: arrays[name] for name in arrays.files}
    config, phi = json.loads(str(file.pop("config"))), file["batch/features"]
    if "batch/candidate_features" in file:
        failed = file["batch/failed"]
        never = np.full(failed.shape, -np.inf)
        return config, file, Log(phi, file["batch/candidate_features"], file["params/theta"], never, failed)
    least, failed = file["metric/exercise"][:, :-1], np.zeros(phi.shape[:2], bool)
    return config, file, Log(phi, phi[:, :, None], np.zeros(phi.shape[1:]), least, failed)


def worths(config: dict[str, Any]) -> dict[str, pessimism.Worth]:
    strength, horizon = config["strength"], config["horizon"]
    return {
        "tv": pessimism.total_variation(strength),
        "tv_zero_floor": pessimism.total_variation(strength, 0.0),
        "kl": pessimism.kullback_leibler(strength, horizon),
        "chi2_supremum": pessimism.chi_squared(strength, horizon),
        "chi2_published": pessimism.chi_squared_as_published(strength, horizon),
        "pevi": pessimism.plain,
    }


@pytest.mark.parametrize("case", ["simulated", "random", "weighted", "american"])
def test_golden_r2pvi(case: str, golden: Path) -> None:
    config, file, log = read(golden / f"r2pvi-{case}.npz")
    compared = 0
    for name, worth in worths(config).items():
        if f"metric/{name}/w" not in file or (case, name) == ("american", "chi2_published"):
            continue  # of the option the release has another search, which maximises
        method = Pessimism(worth, config["ridge"], config["beta"], joint=name == "pevi")
        plan = method.fit(log)
        np.testing.assert_allclose(plan.w, file[f"metric/{name}/w"], atol=1e-11, err_msg=name)
        if case == "american":
            if name in ("tv", "kl"):
                steps = zip(plan.w, plan.inverse, np.moveaxis(log.features, 1, 0), range(5, 0, -1), strict=True)
                holds = np.stack([method.q(*step) for step in steps], axis=1)
                np.testing.assert_allclose(holds, file[f"metric/{name}/q_hold"], atol=1e-11)
        else:
            np.testing.assert_allclose(plan.values.T, file[f"metric/{name}/v"], atol=1e-11, err_msg=name)
        compared += 1
    assert compared == (3 if case == "american" else 6)


@pytest.mark.parametrize("case", ["simulated", "random", "weighted"])
@pytest.mark.parametrize("published", [True, False])
def test_golden_variance_weighted_r2pvi(case: str, published: bool, golden: Path) -> None:
    config, file, log = read(golden / f"r2pvi-{case}.npz")
    method = Pessimism(pessimism.total_variation(config["strength"]), config["ridge"], config["beta"])
    spreads = pessimism.spreads(method, log, published)
    name = f"metric/va_tv_{'published' if published else 'corrected'}"
    np.testing.assert_allclose(spreads[:-1].T, file[f"{name}/variance"], atol=1e-11)
    np.testing.assert_allclose(method.fit(log, spreads).w, file[f"{name}/w"], atol=1e-11)


def test_the_supremum_is_that_of_a_fine_grid() -> None:
    random = np.random.default_rng(0)
    e, v = random.normal(size=(6, 40)) / 10, random.uniform(0, 5, 40)
    found = pessimism.chi_squared(0.7, 5)(e, v)
    grid = np.linspace(0, 5, 20_001)
    assert found == pytest.approx([pessimism.dual(row, v, grid, 0.7).max() for row in e], abs=1e-5)


def test_a_price_that_nobody_can_pay_leaves_no_adversary() -> None:
    log = Chain().log(50, np.random.default_rng(0))
    plain = Pessimism(pessimism.plain).fit(log).w
    free = Pessimism(pessimism.total_variation(1e3)).fit(log).w
    np.testing.assert_allclose(free, plain, atol=1e-12)


def test_features_of_the_option_are_shares_of_its_anchors() -> None:
    phi = Put().phi(np.array([60.0, 97.3, 150.0]))
    np.testing.assert_allclose(phi.sum(axis=1), 1)
    np.testing.assert_allclose(phi @ Put().anchors, [60, 97.3, 150])


@pytest.mark.parametrize("settings", [{}, {"problem": "put", "strength": 0.03, "beta": 0.1, "ridge": 1.0}])
def test_robust_plans_lose_in_the_dynamics_of_the_log_and_win_in_others(settings: dict[str, Any]) -> None:
    """The ordering of the paper's first figure."""
    finding = Robust(replications=4, **settings).measure()

    def returns(method: str) -> list[float]:
        return [row["return"] for row in finding.of(method=method)]

    pevi, tv = returns("pevi"), returns("tv")
    assert pevi[0] > tv[0] + 0.05
    assert tv[-1] > pevi[-1] + 0.1
    assert returns("chi2")[-1] > pevi[-1]
    assert Robust(**settings).draw(finding).axes


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(InputError, match="strength must be between"):
        Robust(strength=0.0).measure()
    with pytest.raises(InputError, match="replications must be at least 1"):
        Robust(replications=0).measure()
