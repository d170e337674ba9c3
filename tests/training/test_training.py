"""What training promises: the same bits from the same seed, however it is interrupted, resumed or watched."""

import contextlib
import dataclasses
import inspect
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_data import line
from tiny_environment import Peaceful
from train_and_die import near
from train_and_die import trained as undisturbed
from untaught import begun

from guidedflow import files
from guidedflow.algorithms import BC, FQL, GFP, IQL
from guidedflow.algorithms.contract import Algorithm, initial_state
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.data.dataset import Dataset
from guidedflow.environments.vector import Simulators
from guidedflow.errors import InputError
from guidedflow.flows.guidance import DenoisedGradient
from guidedflow.flows.sampling import Sampler
from guidedflow.results import rows as episodes
from guidedflow.runs.run import Run
from guidedflow.runs.tracking import Tracker
from guidedflow.runs.trained import Trained, load_policy
from guidedflow.settings import hyperparameters, to_plain
from guidedflow.training import member, pieces, record
from guidedflow.training.interruption import Interruption
from guidedflow.training.loop import train, train_together
from guidedflow.training.member import Order
from guidedflow.training.pieces import Pieces
from guidedflow.training.plan import Plan
from guidedflow.training.updates import advance, in_rows

SMALL = GFP(hidden=(8, 8), flow_steps=2)
PLAN = Plan(steps=40, seeds=2, batch_size=8, log_interval=10)
HERE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(SMALL, line(), small(steps=10), out=tmp_path_factory.mktemp("trained") / "run").run.path


def leaves(path: Path, step: int | None = None, algorithm: Algorithm[Any] | None = None) -> list[np.ndarray]:
    return jax.tree.leaves(Trained.open(path, step, algorithm).state)


def assert_same_bits(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def rows(path: Path) -> list[dict[str, Any]]:
    """The metrics of a run, without what a clock says."""
    found = files.read_rows(path / "metrics.jsonl")
    return [{name: value for name, value in row.items() if "second" not in name} for row in found]


def small(**changes: Any) -> Plan:
    return Plan(**{**vars(PLAN), **changes})


def start(*arguments: str, cache: Path) -> subprocess.CompletedProcess[bytes]:
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, str(HERE / "train_and_die.py"), *arguments]
    return subprocess.run(command, env=environment, cwd=HERE, capture_output=True, timeout=250)


DEATHS = (("metrics", 2), ("save", 1), ("write", 2), ("sync", 3), ("metrics", 2))


@pytest.mark.parametrize(("name", "deaths"), [("bc", DEATHS[3:4]), pytest.param("gfp", DEATHS, marks=pytest.mark.slow)])
def test_a_run_killed_again_and_again_ends_with_the_same_bits(
    name: str, deaths: tuple[tuple[str, int], ...], tmp_path: Path
) -> None:
    """In processes of their own; the undisturbed run, and the rest of the broken one, are trained here."""
    cache = tmp_path / "compiled"
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    undisturbed(name, whole)
    for moment, count in deaths:
        died = start(name, str(broken), moment, str(count), cache=cache)
        assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert broken.exists()
    undisturbed(name, broken)
    assert_same_bits(leaves(whole), leaves(broken))
    assert rows(whole) == rows(broken)


def test_the_same_seed_gives_the_same_bits_and_resuming_in_pieces_too(tmp_path: Path) -> None:
    train(SMALL, line(), PLAN, out=tmp_path / "a")
    train(SMALL, line(), PLAN, out=tmp_path / "b")
    for steps in (10, 25, 40):
        with pytest.warns(UserWarning, match="steps") if steps > 10 else contextlib.nullcontext():
            train(SMALL, line(), small(steps=steps), out=tmp_path / "c", resume=True)
    assert_same_bits(leaves(tmp_path / "a"), leaves(tmp_path / "b"))
    assert_same_bits(leaves(tmp_path / "a"), leaves(tmp_path / "c"))
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_a_run_that_goes_on_with_other_cores_is_warned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums are split over them, so that the last digits differ."""
    train(SMALL, line(), small(steps=10), out=tmp_path / "run")
    cores = json.loads((tmp_path / "run" / "config.json").read_text())["versions"]["cores"]
    monkeypatch.setattr(record, "available_cores", lambda: cores + 1)
    with pytest.warns(UserWarning, match=f"steps 10 -> 20; versions.cores {cores} -> {cores + 1}"):
        train(SMALL, line(), small(steps=20), out=tmp_path / "run", resume=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_is_saved_and_goes_on(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(SMALL, line(), PLAN, out=tmp_path / "whole")
    log = Tracker.log

    def interrupted(self: Tracker, step: int, *rest: Any) -> None:
        log(self, step, *rest)
        if step == 20:
            signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "log", interrupted)
        with pytest.raises(SystemExit) as left:
            train(SMALL, line(), PLAN, out=tmp_path / "run")
    assert left.value.code == 128 + number
    assert Trained.open(tmp_path / "run").step == 20
    train(SMALL, line(), PLAN, out=tmp_path / "run", resume=True)
    assert_same_bits(leaves(tmp_path / "whole"), leaves(tmp_path / "run"))


@pytest.mark.slow
def test_seeds_together_equal_seeds_alone(tmp_path: Path) -> None:
    together = train(SMALL, line(), small(seeds=3), out=tmp_path / "together").state
    for seed in range(3):
        alone = train(SMALL, line(), small(seed=seed, seeds=1), out=tmp_path / str(seed)).state
        for mine, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(mine[seed], other[0], rtol=1e-3, atol=1e-5)


def test_evaluation_does_not_change_training(tmp_path: Path) -> None:
    train(SMALL, line(), PLAN, out=tmp_path / "unwatched")
    with Simulators(partial(Peaceful, 5), 2, 1) as simulators:
        plan = small(eval_interval=20, eval_episodes=3)
        train(SMALL, line(), plan, out=tmp_path / "watched", simulators=simulators)
    assert_same_bits(leaves(tmp_path / "unwatched"), leaves(tmp_path / "watched"))
    evaluations = [json.loads(text) for text in (tmp_path / "watched" / "evaluations.jsonl").read_text().splitlines()]
    counts = {(row["step"], row["policy"], row["seed"]) for row in evaluations}
    assert counts == {(step, policy, seed) for step in (20, 40) for policy in ("actor", "flow") for seed in (0, 1)}
    assert len(evaluations) == 3 * len(counts)
    assert {row["source"] for row in evaluations} == {"training"}


@pytest.mark.slow
def test_a_dataset_of_other_sizes_than_the_simulator_is_told_before_training(tmp_path: Path) -> None:
    plan = small(eval_interval=20)
    wide = replace(line(), actions=np.zeros((len(line().last), 4), np.float32))
    with Simulators(partial(Peaceful, 5), 2, 1) as simulators:
        with pytest.raises(InputError, match=r"of shape \(3,\) and actions of 4 numbers.*and takes 2; "):
            train(SMALL, wide, plan, out=tmp_path / "wide", simulators=simulators)
        with pytest.raises(InputError, match=r"of shape \(6,\) and actions of 2 numbers.*gives \(3,\) and takes 2; "):
            train(SMALL, line(), replace(plan, frame_stack=2), out=tmp_path / "stacked", simulators=simulators)
        train(SMALL, line(), replace(plan, horizon=3, chunk=True), out=tmp_path / "chunked", simulators=simulators)
    assert [path.name for path in tmp_path.iterdir()] == ["chunked"]


def test_what_a_run_leaves_on_disk(tmp_path: Path) -> None:
    trained = train(SMALL, line(), small(checkpoint_interval=20), out=tmp_path / "run")
    assert {path.name for path in trained.run.path.iterdir()} >= {
        "config.json", "metrics.jsonl", "metrics.csv", "tensorboard", "checkpoints"
    }  # fmt: skip
    assert [row["step"] for row in rows(tmp_path / "run")] == [10, 20, 30, 40]
    assert {path.name for path in trained.run.checkpoints.iterdir()} == {"20", "40"}
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["algorithm"] == {
        "name": "gfp", "alpha": 1.0, "temperature": 1e-3, "aggregate": "mean", "target": "actor", "reference": "actor",
        "weight": "softmax", "tau": 0.005, "learning_rate": 3e-4, "flow_steps": 2, "hidden": [8, 8],
        "ensemble": to_plain(Ensemble()), "distance": 0.5, "effective_share": 0.5,
    }  # fmt: skip
    assert config["dataset"]["fingerprint"] == line().fingerprint
    assert config["versions"]["jax"] == jax.__version__


def test_a_policy_loaded_from_disk_acts_as_the_trained_one(tmp_path: Path) -> None:
    trained = train(SMALL, line(), PLAN, out=tmp_path / "run")
    observation, key = jnp.ones(3), jax.random.key(0)
    for name in ("actor", "flow"):
        for seed in (0, 1):
            loaded = load_policy(tmp_path / "run", name, seed=seed)
            np.testing.assert_array_equal(loaded(observation, key), trained.policy(name, seed)(observation, key))
    with pytest.raises(InputError, match=r"no policy 'actr' \(did you mean 'actor'\?\); it has actor, flow"):
        load_policy(tmp_path / "run", "actr")
    with pytest.raises(InputError, match=r"no seed 5; it was trained with \[0, 1\]"):
        load_policy(tmp_path / "run", seed=5)


def test_an_environment_of_ones_own_can_be_evaluated_in(tmp_path: Path) -> None:
    """It stands for a task that no suite has; its rows are kept."""
    trained = begun(BC(hidden=(4,), flow_steps=1), line(), Plan(steps=2, seeds=2, log_interval=2), out=tmp_path / "run")
    with Simulators(partial(Peaceful, 2), 2, 1) as simulators:
        result = trained.evaluate(simulators=simulators, episodes=3)
    assert result.summary()["task"] == "line"
    assert result.summary()["environment"] == "tiny_environment.Peaceful"
    assert {(row["source"], row["environment"]) for row in result.rows} == {("evaluate", "tiny_environment.Peaceful")}
    assert episodes.read(trained.run.evaluations) == result.rows
    assert len(result.rows) == 6


@hyperparameters
class Mine(BC):
    """An algorithm that no table has, with a setting that has no default."""

    mine: float = dataclasses.field(kw_only=True)


def test_an_algorithm_of_ones_own_is_trained_resumed_and_opened(tmp_path: Path) -> None:
    mine = Mine(hidden=(4,), flow_steps=1, mine=0.5)
    train(mine, line(), small(steps=10), out=tmp_path / "run")
    with pytest.warns(UserWarning, match="steps 10 -> 20"):
        trained = train(mine, line(), small(steps=20), out=tmp_path / "run", resume=True)
    assert_same_bits(jax.tree.leaves(trained.state), leaves(tmp_path / "run", algorithm=mine))
    with pytest.raises(InputError, match=r"algorithm 'Mine' is not one of .*given to Trained.open\(path, algorithm"):
        Trained.open(tmp_path / "run")
    with pytest.raises(InputError, match=r"was trained by \{'name': 'Mine'.*'mine': 0.5.*not by .*'mine': 0.25"):
        Trained.open(tmp_path / "run", algorithm=replace(mine, mine=0.25))


def test_an_algorithm_is_a_class_of_settings(tmp_path: Path) -> None:
    class Plain:
        def init(self, example: Any, key: Any) -> None: ...
        def update(self, state: Any, batch: Any, key: Any) -> Any: ...
        def policies(self, state: Any) -> Any: ...

    with pytest.raises(InputError, match=r"Plain is no class of settings; decorate it by guidedflow.settings.hyper"):
        train(Plain(), line(), PLAN, out=tmp_path / "run")


@hyperparameters
class Breaking(BC):
    """An algorithm whose update breaks the contract in the way that `how` names."""

    how: str = ""

    def init(self, example: Any, key: Any) -> Any:
        return [super().init(example, key)]

    def update(self, state: Any, batch: Any, key: Any) -> Any:
        updated, metrics = super().update(state[0], batch, key)
        state = [updated]
        first = jax.tree.leaves(state)[0]
        match self.how:
            case "taken":
                return state, metrics | {"step": first.sum()}
            case "shape":
                return state, metrics | {"mine": first}
            case "no dict":
                return state, first.sum()
            case "type":
                return jax.tree.map(lambda leaf: leaf.astype("bfloat16"), state), metrics
            case "leaf":
                return {"state": state}, metrics
            case _:
                return tuple(state), metrics


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("taken", r"Breaking.update must not call a metric 'step', since every row has a column 'step'"),
        ("shape", r"Breaking.update must return single numbers as metrics, but 'mine' is "),
        ("no dict", r"Breaking.update must return its metrics as a dict, but returned "),
        ("type", r"but leaf '[a-z0-9_.]+' is bfloat16 \[.*\] after it and float32 \[.*\] before"),
        ("leaf", r"but leaf '[a-z0-9_.]+' is absent after it and float32 \[.*\] before"),
        ("tuple", r"Breaking.update must return a state of the structure that it was given, but returned PyTreeDef"),
    ],
)
def test_an_update_that_breaks_the_contract_is_told(how: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        train(Breaking(hidden=(4,), flow_steps=1, how=how), line(), small(steps=10), out=tmp_path / "run")


def test_the_critic_of_another_task_is_warned_of(tmp_path: Path) -> None:
    plan = Plan(steps=2, batch_size=4, log_interval=2)
    flow = begun(BC(hidden=(4,), flow_steps=2), line(), plan, out=tmp_path / "bc")
    other = replace(line(), name="other line")
    critic = begun(IQL(hidden=(4,)), other, replace(plan, horizon=3), out=tmp_path / "iql")
    with pytest.warns(
        UserWarning, match="trained on other line, the policy acts in line; with horizon 3, the policy wi"
    ):
        flow.steered("flow", critic_from=critic.run.path)


def test_one_policy_of_a_run_is_steered_as_all_are(tmp_path: Path) -> None:
    plan = Plan(steps=2, seeds=2, batch_size=4, log_interval=2)
    raw: dict[str, Any] = {"normalize_observations": False}
    flow = begun(BC(hidden=(4,), flow_steps=2), line(), plan, out=tmp_path / "bc", **raw)
    critic = begun(IQL(hidden=(4,)), line(), replace(plan, seeds=1), out=tmp_path / "iql", **raw)
    sampler = Sampler(2, DenoisedGradient(0.3), candidates=2)
    one, observation = flow.policy("flow", 1, sampler, critic), jnp.ones(flow.policy().observation_shape)
    assert one.sampler == sampler
    every = flow.steered("flow", sampler, critic)
    own = jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) else None, every)
    actions = jax.vmap(lambda policy: policy(observation, jax.random.key(0)), in_axes=(own,))(every)
    np.testing.assert_allclose(one(observation, jax.random.key(0)), actions[1], rtol=1e-5, atol=1e-6)


def test_an_algorithm_without_rewards_and_one_with_another_setting_are_told_apart(tmp_path: Path) -> None:
    begun(BC(hidden=(8,), flow_steps=2), line(), small(steps=10), out=tmp_path / "bc")
    with pytest.raises(InputError, match=r"other settings \(algorithm.hidden \[8\] -> \[16\]"):
        train(BC(hidden=(16,), flow_steps=2), line(), small(steps=20), out=tmp_path / "bc", resume=True)
    with pytest.raises(InputError, match="another dataset"):
        train(BC(hidden=(8,), flow_steps=2), line(seed=1), small(steps=10), out=tmp_path / "bc", resume=True)
    with pytest.raises(InputError, match="--resume to continue it, --overwrite to replace it"):
        train(BC(hidden=(8,), flow_steps=2), line(), small(steps=10), out=tmp_path / "bc")
    begun(FQL(hidden=(8,), flow_steps=2), line(), small(steps=10), out=tmp_path / "bc", overwrite=True)
    assert Trained.open(tmp_path / "bc").policies().keys() == {"actor", "flow"}


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoints(tmp_path: Path) -> None:
    data = line()
    poisoned = Dataset("line", data.observations, data.actions, data.rewards * np.float32(1e30), data.masks, data.last)
    with pytest.raises(InputError, match=r"between steps 0 and 10: .*critic_loss.* no longer finite"):
        train(SMALL, poisoned, PLAN, out=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_log_interval_adapts_to_the_other_intervals() -> None:
    assert Plan(log_interval=1000, eval_interval=2500).log_interval == 500
    assert Plan(log_interval=10, eval_interval=15, checkpoint_interval=20).log_interval == 5
    assert Plan(log_interval=1000, eval_interval=3000, checkpoint_interval=0).log_interval == 1000


@pytest.mark.parametrize(
    ("steps", "log", "saved"), [(1_000_000, 1000, 5000), (20_000, 1000, 1000), (200, 10, 10), (50, 1000, 50)]
)
def test_a_run_is_saved_on_its_way_unless_it_is_asked_not_to(steps: int, log: int, saved: int) -> None:
    plan = Plan(steps=steps, log_interval=log)
    ends = [plan.end_of_interval(0)]
    while ends[-1] < min(steps, 3 * saved):
        ends.append(plan.end_of_interval(ends[-1]))
    assert next(end for end in ends if plan.saves_at(end)) == saved
    assert plan.kept == 2
    only = Plan(steps=steps, log_interval=log, checkpoint_interval=0)
    assert only.saves_at(steps)
    assert only.kept is None
    assert steps == saved or not only.saves_at(saved)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "steps must be at least 1, but is 0"),
        ({"batch_size": -1}, "batch-size must be at least 1, but is -1"),
        ({"seed": -1}, "seed must be between 0 and"),
        ({"seed": 2**31 - 1, "seeds": 2}, "seed must be between 0 and 2147483646, but is 2147483647"),
        ({"keep_checkpoints": -1}, "keep-checkpoints must be at least 0, but is -1"),
        ({"discount": 1.5}, "discount must be between 0 and 1, but is 1.5"),
        ({"log_interval": 1000, "eval_interval": 1001}, "eval-interval must be 0 or a multiple of log-interval 1000"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_leaves_nothing_behind(
    changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=sentence):
        train(SMALL, line(), small(**changes), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_not_made_to_be_trained_leaves_nothing_behind(tmp_path: Path) -> None:
    """Past the type checker of the tests, which refuses it in other words."""
    for algorithm, dataset, plan, sentence in (
        (GFP, line(), PLAN, r"an algorithm with its settings, such as GFP\(alpha=1.0\), but got <class"),
        (SMALL, "line.npz", PLAN, "a dataset, as load_dataset gives it, but got 'line.npz'"),
        (SMALL, line(), 20, "a plan, such as .*, but got 20"),
    ):
        with pytest.raises(InputError, match=sentence):
            inspect.unwrap(train)(algorithm, dataset, plan, out=tmp_path / "run")
    with pytest.raises(InputError, match="has no simulator here"):
        train(SMALL, line(), small(eval_interval=10), out=tmp_path / "of" / "mine" / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"task": None}, "task must be text, but is None"),
        ({"seeds": 0}, "seeds must be at least 1, but is 0"),
        ({"seeds": "2"}, "seeds must be a whole number, but is '2'"),
        ({"discount": []}, r"discount must be a number, but is \[\]"),
        ({"transition": {"observation_shape": [3], "action_size": 2}}, "must have the setting 'observation_dtype'"),
        ({"transition": 3}, "transition must be a Spaces"),
        ({"algorithm": "gfp"}, "must say the algorithm's name"),
        (
            {"algorithm": {"name": "gfp", "hidden": "a"}},
            "hidden must be a tuple, each of it a whole number, but is 'a'",
        ),
        ({"algorithm": {"name": "gfp", "alhpa": 1.0}}, r"GFP has no setting 'alhpa' \(did you mean 'alpha'"),
        ({"action_scale": {"low": [0]}}, "ActionScale must have the setting 'high'"),
        ({"goals": {"gc_negative": 3}}, "gc-negative must be True or False, but is 3"),
    ],
)
def test_a_damaged_configuration_is_told(
    change: dict[str, Any], sentence: str, trained_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((trained_once / "config.json").read_text())
    monkeypatch.setattr(Run, "open", lambda path: Run(path, config | change))
    with pytest.raises(InputError, match=rf"config\.json cannot be used: .*{sentence}"):
        Trained.open(trained_once)


@pytest.mark.parametrize("entry", ["task", "seed", "seeds", "transition", "algorithm", "discount", "horizon", "chunk"])
def test_a_configuration_without_an_entry_is_told(
    entry: str, trained_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((trained_once / "config.json").read_text())
    del config[entry]
    monkeypatch.setattr(Run, "open", lambda path: Run(path, config))
    with pytest.raises(InputError, match=rf"config\.json cannot be used: .*{entry}"):
        Trained.open(trained_once)


def test_what_is_missing_for_a_run_costs_no_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = train(SMALL, line(), PLAN, out=tmp_path / "run")
    monkeypatch.setitem(sys.modules, "wandb", None)
    for plan, sentence in (
        (small(wandb="offline"), "needs the package wandb"),
        (small(eval_interval=10), "task 'line' has no simulator here"),
    ):
        with pytest.raises(InputError, match=sentence):
            train(SMALL, line(), plan, out=tmp_path / "run", overwrite=True)
        assert_same_bits(jax.tree.leaves(trained.state), leaves(tmp_path / "run"))
        with pytest.raises(InputError, match=sentence):
            train(SMALL, line(), plan, out=tmp_path / "new")
    train(SMALL, line(), small(steps=10), out=tmp_path / "new")


def test_a_run_does_not_go_back_to_an_earlier_step(tmp_path: Path) -> None:
    train(SMALL, line(), PLAN, out=tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(InputError, match="has come to step 40 already"):
        train(SMALL, line(), small(steps=20), out=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "config.json").read_bytes() == before


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["rounds", "one"])
def test_an_interval_has_the_same_bits_in_pieces_of_any_length(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10 updates in rounds of 5: in two pieces, and as one program."""
    monkeypatch.setattr(pieces, "SECONDS", seconds)
    batches, seeds, algorithms = line().cut(), jnp.arange(2, dtype=jnp.int32), in_rows([SMALL] * 2)
    state = initial_state(SMALL, batches.example(), seeds)
    in_pieces = Pieces(8, Interruption())
    for step in (0, 10):
        whole = advance(algorithms, state, batches, seeds, step, 10, 8)
        found = in_pieces.advance(algorithms, state, batches, seeds, step, 10)
        assert_same_bits(jax.tree.leaves(found), jax.tree.leaves(whole))
        state = whole[0]


@pytest.mark.parametrize(("patience", "saved"), [(0.0, 10), (1e9, 20)], ids=["dropped", "finished"])
def test_a_signal_within_an_interval_waits_for_a_piece_and_not_for_a_long_rest(
    patience: float, saved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    train(SMALL, line(), small(steps=20), out=tmp_path / "whole")
    monkeypatch.setattr(pieces, "SECONDS", 0.0)
    monkeypatch.setattr(pieces, "PATIENCE", patience)
    real, calls = pieces.advance_some, iter(range(1, 100))

    def interrupted(*arguments: Any) -> Any:
        if next(calls) == 3:  # the first of two pieces of the second interval
            signal.raise_signal(signal.SIGTERM)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pieces, "advance_some", interrupted)
        with pytest.raises(SystemExit) as left:
            train(SMALL, line(), small(steps=20), out=tmp_path / "run")
    assert left.value.code == 128 + signal.SIGTERM
    assert Trained.open(tmp_path / "run").step == saved
    assert [row["step"] for row in rows(tmp_path / "run")] == list(range(10, saved + 1, 10))
    told = f"saved at step {saved}{'; the interval under way was dropped' if saved == 10 else ''}; go on with --resume"
    assert told in " ".join(capfd.readouterr().err.split())
    train(SMALL, line(), small(steps=20), out=tmp_path / "run", resume=True)
    assert_same_bits(leaves(tmp_path / "whole"), leaves(tmp_path / "run"))
    assert rows(tmp_path / "whole") == rows(tmp_path / "run")


@pytest.mark.slow
def test_a_signal_within_an_evaluation_drops_its_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small(steps=20, eval_interval=20, eval_episodes=1, seeds=1)
    evaluate = member.evaluate

    def interrupted(*arguments: Any, **named: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return evaluate(*arguments, **named)

    with near(partial(Peaceful, 5), 2) as simulators:
        train(SMALL, line(), plan, out=tmp_path / "whole", simulators=simulators)
        with monkeypatch.context() as patch:
            patch.setattr(member, "evaluate", interrupted)
            with pytest.raises(SystemExit):
                train(SMALL, line(), plan, out=tmp_path / "run", simulators=simulators)
        assert Trained.open(tmp_path / "run").step == 10
        train(SMALL, line(), plan, out=tmp_path / "run", resume=True, simulators=simulators)
    assert_same_bits(leaves(tmp_path / "whole"), leaves(tmp_path / "run"))
    assert files.read_rows(tmp_path / "whole" / "evaluations.jsonl") == files.read_rows(
        tmp_path / "run" / "evaluations.jsonl"
    )


def test_as_many_checkpoints_stay_as_were_asked_for(tmp_path: Path) -> None:
    plan = small(checkpoint_interval=10, keep_checkpoints=2)
    train(SMALL, line(), plan, out=tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["30", "40"]


def test_actions_outside_the_box_are_refused_in_memory_too(tmp_path: Path) -> None:
    data = line()
    with pytest.raises(InputError, match=r"actions must lie in \[-1, 1\]"):
        train(SMALL, replace(data, actions=3 * data.actions), PLAN, out=tmp_path / "run")


def test_a_run_that_stops_before_anything_is_learned_leaves_nothing(tmp_path: Path) -> None:
    """A loss that is not finite in the first interval, or a signal while it is compiled."""
    poisoned = replace(line(), rewards=np.full(len(line().last), 1e38, np.float32))
    with pytest.raises(InputError, match="no longer finite"):
        train(SMALL, poisoned, PLAN, out=tmp_path / "above" / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_in_the_first_interval_leaves_no_folder(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pieces, "advance", lambda *_: signal.raise_signal(number))
    with pytest.raises(SystemExit) as left:
        train(SMALL, line(), PLAN, out=tmp_path / "run")
    assert left.value.code == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_a_refused_or_failed_resume_changes_no_byte(trained_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sorted(trained_once.rglob("*")) if path.is_file()}

    before = contents()
    with pytest.raises(InputError, match="cannot be resumed with other settings"):
        train(replace(SMALL, alpha=5.0), line(), small(steps=20), out=trained_once, resume=True)
    monkeypatch.setattr(Pieces, "advance", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), pytest.warns(UserWarning, match="steps 10 -> 20"):
        train(SMALL, line(), small(steps=20), out=trained_once, resume=True)
    assert contents() == before


@pytest.mark.slow
def test_runs_that_train_together_equal_each_alone(tmp_path: Path) -> None:
    """Bit for bit, with other seeds, other float settings and more seeds a run; each is an ordinary run."""
    orders = [
        Order(replace(SMALL, alpha=alpha, learning_rate=rate), small(seed=seed, seeds=1), tmp_path / f"together-{seed}")
        for seed, (alpha, rate) in enumerate([(1.0, 3e-4), (0.1, 1e-3), (3.0, 3e-4)])
    ]
    for order, trained in zip(orders, train_together(orders, line()), strict=True):
        alone = train(order.algorithm, line(), order.plan, out=tmp_path / f"alone-{order.plan.seed}")
        assert isinstance(trained, Trained)
        assert_same_bits(jax.tree.leaves(trained.state), jax.tree.leaves(alone.state))
        assert_same_bits(leaves(trained.run.path), leaves(alone.run.path))
        assert rows(trained.run.path) == rows(alone.run.path)
    again = [replace(order, resume=True, plan=replace(order.plan, steps=50)) for order in orders[:2]]
    with pytest.warns(UserWarning, match="steps 40 -> 50"):
        assert [trained.step for trained in train_together(again, line()) if isinstance(trained, Trained)] == [50, 50]


def test_a_run_that_diverges_stops_alone(tmp_path: Path) -> None:
    orders = [
        Order(replace(SMALL, learning_rate=rate), small(seeds=1), tmp_path / str(index))
        for index, rate in enumerate([3e-4, 1e30])
    ]
    healthy, broken = train_together(orders, line())
    assert isinstance(healthy, Trained)
    assert isinstance(broken, InputError)
    assert "no longer finite" in str(broken)
    assert_same_bits(
        jax.tree.leaves(healthy.state), leaves(train(SMALL, line(), small(seeds=1), out=tmp_path / "x").run.path)
    )


@pytest.mark.parametrize(
    "other",
    [{"plan": small(seeds=1, batch_size=4)}, {"algorithm": replace(SMALL, hidden=(4,))}],
    ids=["plan", "static"],
)
def test_runs_of_other_shapes_do_not_train_together(other: dict[str, Any], tmp_path: Path) -> None:
    first = Order(SMALL, small(seeds=1), tmp_path / "a")
    with pytest.raises(InputError, match="may differ in float settings and seeds alone"):
        train_together([first, replace(first, out=tmp_path / "b", **other)], line())
    assert list(tmp_path.iterdir()) == []
