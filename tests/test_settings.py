"""Settings: floats are traced, everything else is structure, and all of it can be written down and read back."""

import copy
import dataclasses
import enum
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.algorithms import ALGORITHMS
from guidedflow.algorithms.gfp import GFP, Reference, Target, Weight
from guidedflow.data.sampling.goals import GoalSampling
from guidedflow.errors import InputError
from guidedflow.flows.guidance import DenoisedGradient
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate
from guidedflow.normalization import ActionScale
from guidedflow.settings import Choice, check_settings, from_plain, hyperparameters, to_plain
from guidedflow.training.plan import Plan


class Shape(Choice):
    double = enum.member(lambda x: 2 * x)
    square = enum.member(lambda x: x * x)


@hyperparameters
class Inner:
    rate: float = 0.5
    count: int = 3


@hyperparameters
class Outer:
    alpha: float = 1.0
    steps: int = 10
    sizes: tuple[int, ...] = (8, 8)
    shape: Shape = Shape.double
    inner: Inner = Inner()
    maybe: Inner | None = None


def doubled(x: float) -> float:
    return 2 * x


@hyperparameters
class OfFunctions:
    rule: Callable[[float], float] = doubled


def replace_past_checks(settings: Any, **values: object) -> Any:
    """Past the constructor, which refuses other types too, but in the words of the tests' own type checker."""
    settings = copy.copy(settings)
    for name, value in values.items():
        object.__setattr__(settings, name, value)
    return settings


def test_floats_of_all_depths_are_leaves_and_nothing_else_is() -> None:
    assert jax.tree.leaves(Outer(alpha=2.0, inner=Inner(rate=0.25))) == [2.0, 0.25]
    assert jax.tree.leaves(Outer(maybe=Inner(rate=0.125))) == [1.0, 0.5, 0.125]


def test_another_float_is_the_same_structure_and_another_size_is_not() -> None:
    """So a compiled update serves every float, and is compiled anew for another size or choice."""
    structure = jax.tree.structure(Outer())
    assert jax.tree.structure(Outer(alpha=7.0, inner=Inner(rate=0.1))) == structure
    for other in (Outer(steps=11), Outer(sizes=(8,)), Outer(shape=Shape.square), Outer(inner=Inner(count=4))):
        assert jax.tree.structure(other) != structure


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Outer().alpha = 2.0  # type: ignore[misc]


def test_equal_settings_are_equal() -> None:
    assert Outer(alpha=2.0) == Outer(alpha=2.0)
    assert Outer(alpha=2.0) != Outer(alpha=3.0)


@jax.jit
def scaled(settings: Outer, x: jax.Array) -> jax.Array:
    return settings.alpha * settings.shape(x) + settings.inner.rate * settings.steps


def test_one_compiled_function_serves_every_float() -> None:
    before = scaled._cache_size()
    for alpha in (1.0, 2.0, 3.0):
        assert scaled(Outer(alpha=alpha), jnp.float32(3.0)) == 6 * alpha + 5
    assert scaled._cache_size() == before + 1


def test_a_sweep_over_floats_is_a_vmap() -> None:
    alphas = jnp.array([1.0, 2.0, 10.0])
    swept = jax.vmap(lambda alpha: scaled(Outer(alpha=alpha), jnp.float32(3.0)))(alphas)
    assert swept.tolist() == [11.0, 17.0, 65.0]


def test_algorithms_that_differ_in_floats_stack_into_one() -> None:
    algorithms = [GFP(alpha=alpha) for alpha in (0.5, 1.0, 10.0)]
    stacked = jax.tree.map(lambda *floats: jnp.array(floats), *algorithms)
    assert jax.vmap(lambda algorithm: 2 * algorithm.alpha)(stacked).tolist() == [1.0, 2.0, 20.0]


def test_a_choice_is_called_as_the_function_that_it_names() -> None:
    assert Shape.double(3) == 6
    assert Shape["square"](3) == 9


def test_plain_settings_are_what_json_can_hold() -> None:
    plain = to_plain(Outer(maybe=Inner(count=5)))
    assert plain == {
        "alpha": 1.0,
        "steps": 10,
        "sizes": [8, 8],
        "shape": "double",
        "inner": {"rate": 0.5, "count": 3},
        "maybe": {"rate": 0.5, "count": 5},
    }
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


@pytest.mark.parametrize("cls", ALGORITHMS.values(), ids=ALGORITHMS)
def test_default_settings_come_back_from_json(cls: type) -> None:
    assert from_plain(cls, json.loads(json.dumps(to_plain(cls())))) == cls()


def test_chosen_settings_come_back_from_json() -> None:
    settings = GFP(
        alpha=0.3,
        temperature=0.0,
        aggregate=Aggregate.min,
        target=Target.published_mean,
        reference=Reference.min,
        weight=Weight.advantage,
        hidden=(16, 16),
    )
    assert from_plain(GFP, json.loads(json.dumps(to_plain(settings)))) == settings


def test_numbers_of_numpy_and_jax_are_written_as_numbers() -> None:
    for alpha in (np.float32(0.5), np.array(0.5), jnp.float32(0.5)):
        plain = to_plain(replace_past_checks(GFP(), alpha=alpha, flow_steps=np.int64(3)))
        assert json.loads(json.dumps(plain)) == to_plain(GFP(alpha=0.5, flow_steps=3))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [(np.array([1.0, 2.0]), "must be one number"), (object(), "number, text, a Choice or a function")],
)
def test_what_cannot_be_written_is_told(value: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        to_plain(replace_past_checks(GFP(), alpha=value))


def test_lists_and_names_of_choices_are_accepted() -> None:
    assert Outer(sizes=[3, 4], shape="square") == Outer(sizes=(3, 4), shape=Shape.square)  # type: ignore[arg-type]


def test_a_function_is_recorded_by_its_name_and_never_imported_on_the_word_of_a_file() -> None:
    recorded = to_plain(OfFunctions())
    assert recorded == {"rule": f"{__name__}:doubled"}
    assert from_plain(OfFunctions, recorded) == OfFunctions()
    with pytest.raises(InputError, match=r"OfFunctions.rule was 'os:system', which is not its default"):
        from_plain(OfFunctions, {"rule": "os:system"})


def test_what_is_not_given_keeps_its_default() -> None:
    assert from_plain(GFP, {"alpha": 3}) == GFP(alpha=3.0)


def test_a_whole_number_becomes_the_float_that_the_setting_is() -> None:
    """JSON writes 1.0 as 1 in some hands; an integer leaf would compile another program."""
    assert isinstance(from_plain(GFP, {"alpha": 3}).alpha, float)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"GFP has no setting 'alhpa' \(did you mean 'alpha'\?\)\."):
        from_plain(GFP, {"alhpa": 1.0})


def test_an_unknown_choice_is_answered_with_all() -> None:
    with pytest.raises(InputError, match=r"GFP\.target is 'median'; expected one of actor, mean, published_mean\."):
        from_plain(GFP, {"target": "median"})


@pytest.mark.parametrize("cls", ALGORITHMS.values(), ids=ALGORITHMS)
def test_every_setting_says_what_it_is(cls: type) -> None:
    """A string below each field becomes the help text of its flag."""
    import ast
    import inspect

    (body,) = (node for node in ast.walk(ast.parse(inspect.getsource(cls))) if isinstance(node, ast.ClassDef))
    for field, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(following, ast.Expr), f"{cls.__name__}.{ast.unparse(field.target)} has no docstring"


@pytest.mark.parametrize(
    ("settings", "name", "value", "sentence"),
    [
        (GFP(), "target", "min", r"must be one of Target\.actor, Target\.mean, Target\.published_mean, but is 'min'"),
        (GFP(), "learning_rate", 0.0, "learning-rate must be greater than 0, but is 0.0; nothing would be learned"),
        (OfFunctions(), "rule", 3, "rule must be a function, but is 3"),
        (GFP(), "hidden", (64, "a"), "must be a tuple, each of it a whole number"),
        (GFP(), "hidden", (), "hidden must have at least one number, but is empty"),
        (GFP(), "flow_steps", 2.5, "flow-steps must be a whole number, but is 2.5"),
        (GFP(), "alpha", "1", "alpha must be a number or auto, but is '1'"),
        (GFP(), "alpha", True, "alpha must be a number or auto, but is True"),
        (GFP(), "alpha", np.float32("nan"), "alpha must be at least 0, but is nan"),
        (Plan(), "steps", 20.0, "steps must be a whole number, but is 20.0"),
        (Plan(), "chunk", "no", "chunk must be True or False, but is 'no'"),
        (Plan(), "wandb", "on", "wandb must be 'online' or 'offline' or None, but is 'on'"),
        (Plan(), "goals", GoalSampling, "goals must be a GoalSampling, made with its settings"),
        (Sampler(), "guidance", DenoisedGradient, "guidance must be a Guidance, made with its settings"),
        (Sampler(), "candidates", 2.0, "candidates must be a whole number, but is 2.0"),
        (DenoisedGradient(), "weight", "a", "weight must be a number, but is 'a'"),
    ],
)
def test_a_setting_of_another_type_is_told(settings: Any, name: str, value: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        check_settings(replace_past_checks(settings, **{name: value}))


@pytest.mark.parametrize(
    ("cls", "plain", "sentence"),
    [
        (GFP, {"target": ["mean"]}, r"GFP\.target is \['mean'\]; expected one of actor"),
        (ActionScale, {"low": [0.0]}, "ActionScale must have the setting 'high'"),
    ],
)
def test_what_was_not_written_by_to_plain_is_told(cls: type, plain: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        from_plain(cls, plain)
