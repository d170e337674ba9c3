"""Partial evaluation of a traced program: what depends on a loop's step alone is computed here; loops can be unrolled.

A flow's embedding of the time depends on the step alone. Computed here, it cannot differ in another runtime, whose
sines of large angles are not JAX's. This module does not know what a program computes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal

_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "custom_jvp_call": "call_jaxpr"}
"""Equations that are programs themselves, and where their program is."""


def simplified(closed: ClosedJaxpr, unroll: bool = False) -> ClosedJaxpr:
    """The same program; a `scan` keeps in its body only what depends on more than the step, or is unrolled."""
    shapes = [jax.ShapeDtypeStruct(each.aval.shape, each.aval.dtype) for each in closed.jaxpr.invars]
    return jax.make_jaxpr(lambda *inputs: _Run(unroll).program(closed, inputs))(*shapes)


class _Run:
    """Evaluates programs on traced and known values."""

    def __init__(self, unroll: bool) -> None:
        self.unroll = unroll

    def program(self, closed: Any, inputs: Iterable[Any]) -> list[Any]:
        jaxpr = closed.jaxpr
        values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *inputs], strict=True))
        self.equations(jaxpr.eqns, values)
        return [_read(values, place) for place in jaxpr.outvars]

    def equations(self, equations: Iterable[Any], values: dict[Any, Any]) -> None:
        """Add what the equations compute to `values`."""
        for equation in equations:
            given = [_read(values, place) for place in equation.invars]
            if not any(isinstance(value, jax.core.Tracer) for value in given):
                with jax.ensure_compile_time_eval():
                    found = _bound(equation, given)
            elif equation.primitive.name == "scan":
                found = self.scan(equation.params, given)
            elif equation.primitive.name in _CALLS:
                found = self.program(equation.params[_CALLS[equation.primitive.name]], given)
            else:
                found = _bound(equation, given)
            values.update(zip(equation.outvars, found, strict=True))

    def scan(self, parameters: Mapping[str, Any], given: list[Any]) -> list[Any]:
        """A loop; what its body computes from known rows and constants alone is computed for all steps first."""
        body, fixed, carried = parameters["jaxpr"], parameters["num_consts"], parameters["num_carry"]
        constants, carry, rows = given[:fixed], given[fixed : fixed + carried], given[fixed + carried :]
        if self.unroll:
            return self.steps(parameters, constants, carry, rows)
        places = body.jaxpr.invars
        values = dict(zip([*body.jaxpr.constvars, *places[:fixed]], [*body.consts, *constants], strict=True))
        by_step = dict(zip(places[fixed + carried :], rows, strict=True))
        known = {place for place, value in (values | by_step).items() if not isinstance(value, jax.core.Tracer)}
        early, late = [], []
        for equation in body.jaxpr.eqns:
            if all(isinstance(place, Literal) or place in known for place in equation.invars):
                early.append(equation)
                known.update(equation.outvars)
            else:
                late.append(equation)
        used = {place for each in late for place in each.invars if not isinstance(place, Literal)}
        used.update(place for place in body.jaxpr.outvars if not isinstance(place, Literal))
        computed = [place for equation in early for place in equation.outvars if place in used]
        with jax.ensure_compile_time_eval():
            tables = [self._early(early, values, by_step, computed, step) for step in range(parameters["length"])]
            stacked = [jnp.stack(table) for table in zip(*tables, strict=True)]
        varying = [place for place in by_step if place in used]

        def step(carry: list[Any], row: tuple[list[Any], list[Any]]) -> tuple[list[Any], list[Any]]:
            here = values | dict(zip(places[fixed : fixed + carried], carry, strict=True))
            here |= dict(zip(varying, row[0], strict=True)) | dict(zip(computed, row[1], strict=True))
            self.equations(late, here)
            out = [_read(here, place) for place in body.jaxpr.outvars]
            return out[:carried], out[carried:]

        xs = [by_step[place] for place in varying], stacked
        carry, out = jax.lax.scan(step, carry, xs, length=parameters["length"], reverse=parameters["reverse"])
        return [*carry, *out]

    def _early(
        self, early: list[Any], values: Mapping[Any, Any], by_step: Mapping[Any, Any], wanted: list[Any], step: int
    ) -> list[Any]:
        """What the early equations compute in one step."""
        here = dict(values) | {
            place: rows[step] for place, rows in by_step.items() if not isinstance(rows, jax.core.Tracer)
        }
        self.equations(early, here)
        return [here[place] for place in wanted]

    def steps(
        self, parameters: Mapping[str, Any], constants: list[Any], carry: list[Any], rows: list[Any]
    ) -> list[Any]:
        """A loop as its steps one after the other."""
        order = range(parameters["length"])
        outs: dict[int, list[Any]] = {}
        for step in reversed(order) if parameters["reverse"] else order:
            here = [_row(each, step) for each in rows]
            out = self.program(parameters["jaxpr"], [*constants, *carry, *here])
            carry, outs[step] = out[: len(carry)], out[len(carry) :]
        stacks = zip(*(outs[step] for step in order), strict=True)
        return [*carry, *map(jnp.stack, stacks)]


def _row(rows: Any, step: int) -> Any:
    if isinstance(rows, jax.core.Tracer):
        return rows[step]
    with jax.ensure_compile_time_eval():
        return rows[step]


def _bound(equation: Any, given: list[Any]) -> list[Any]:
    found = equation.primitive.bind(*given, **equation.params)
    return list(found) if equation.primitive.multiple_results else [found]


def _read(values: Mapping[Any, Any], place: Any) -> Any:
    return place.val if isinstance(place, Literal) else values[place]
