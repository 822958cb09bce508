"""The natural mixed-integer nonlinear program in SCIP: logarithms, exponentials and products as they stand.

Its bounds are shown as SCIP reports them: on a small space PySCIPOpt 6.3 was seen to call a network optimal that is
0.8 % below the optimum, which it confirms as feasible, and better, once all unknowns are fixed there.
"""

import math
from typing import Any

import numpy as np
import pyscipopt as scip
from pyscipopt.scip import PY_SCIP_EVENTTYPE as EVENTS

from benchmarks.formulations.natural import NaturalProgram
from benchmarks.formulations.polynomials import Polynomial, log_name
from benchmarks.formulations.traces import Trace
from deepmad.engine.program.objectives import REFERENCE_BETA, entropy_factor


def solve_minlp(program: NaturalProgram, trace: Trace, *, seconds: float, seed: int) -> None:
    """Solve with SCIP, one thread, noting every network and bound in `trace`."""
    built = MinlpModel(program)
    model = built.model
    model.hideOutput()
    model.setParam("limits/time", seconds)
    model.setParam("randomization/randomseedshift", seed)
    handler = _Note(built, trace)
    model.includeEventhdlr(handler, "trace", "notes networks and bounds")
    model.optimize()
    handler.note_bound()


class _Note(scip.Eventhdlr):
    def __init__(self, built: "MinlpModel", trace: Trace) -> None:
        self.built, self.trace = built, trace

    def eventinit(self) -> None:
        for event in (EVENTS.BESTSOLFOUND, EVENTS.NODESOLVED):
            self.model.catchEvent(event, self)

    def eventexit(self) -> None:
        for event in (EVENTS.BESTSOLFOUND, EVENTS.NODESOLVED):
            self.model.dropEvent(event, self)

    def eventexec(self, event: Any) -> None:
        if event.getType() == EVENTS.BESTSOLFOUND:
            best = self.model.getBestSol()
            chosen = {name: self.built.read(name, lambda v: self.model.getSolVal(best, v)) for name in self.built.steps}
            self.trace.offer(self.built.program.network(chosen))
        self.note_bound()

    def note_bound(self) -> None:
        bound = self.built.model.getDualbound()
        self.trace.lower(float(bound) if bound > 0 else None)


class MinlpModel:
    """The program as a SCIP `model`; `steps` tells an unknown's variable, smallest value and step."""

    def __init__(self, program: NaturalProgram) -> None:
        self.program, self.model = program, scip.Model()
        self.steps: dict[str, tuple[Any, int, int]] = {}
        self.expressions: dict[str, Any] = {}
        # Variables: whole steps above the smallest choice, and the logarithm of the value.
        for name, values in program.values.items():
            self._unknown(name, values)
        # Limits and rules, in units of the limit.
        for total, limit in program.costs:
            self.model.addCons(self.expression(total * (1 / limit)) <= 1)
        for rule in program.rules:
            self.model.addCons(self.expression(rule) >= 0)
        # Objective: the scales' weighted entropies less the depth penalty.
        problem = program.problem
        goal = -self._penalty()
        for alpha, scale in zip(problem.space.weights, program.scales, strict=True):
            logs = self._held(Polynomial.of(scale.log_widths))
            area = self._held(Polynomial.of(np.log(scale.side**2 * scale.channels)))
            entropy = self.model.addVar(lb=0, ub=logs.getUbOriginal() * area.getUbOriginal())
            self.model.addCons(entropy <= logs * area)
            goal += alpha * entropy_factor(problem.objective) * entropy
            convs = Polynomial.of(scale.depth)
            if problem.budget.rho is not None:
                least = self._needed(convs, problem.budget.rho)
                self.model.addCons(logs >= least)
        self.model.setObjective(goal, "maximize")

    def _unknown(self, name: str, values: tuple[int, ...]) -> None:
        low, step = values[0], values[1] - values[0] if len(values) > 1 else 1
        assert values == tuple(range(low, values[-1] + 1, step)), f"{name}: the choices are no row of equal steps"
        steps = self.model.addVar(name, vtype="I", lb=0, ub=len(values) - 1)
        self.steps[name] = (steps, low, step)
        value = self.model.addVar(f"value {name}", lb=low, ub=values[-1])
        self.model.addCons(value == low + step * steps)
        logarithm = self.model.addVar(log_name(name), lb=math.log(low), ub=math.log(values[-1]))
        self.model.addCons(logarithm == scip.log(value))
        self.expressions |= {name: value, log_name(name): logarithm}

    def read(self, name: str, value: Any) -> int:
        """Return an unknown's value in a solution."""
        steps, low, step = self.steps[name]
        return int(low + step * round(value(steps)))

    def expression(self, polynomial: Polynomial) -> Any:
        """Return a polynomial as an expression of SCIP's."""
        total: Any = 0.0
        for names, coefficient in polynomial.terms.items():
            term: Any = coefficient
            for name in names:
                term = term * self.expressions[name]
            total = total + term
        return total

    def _held(self, polynomial: Polynomial) -> Any:
        """Return a variable equal to a polynomial without negative terms, within what its unknowns allow."""
        most = 0.0
        for names, coefficient in polynomial.terms.items():
            most += coefficient * math.prod(self.expressions[name].getUbOriginal() for name in names)
        variable = self.model.addVar(lb=0, ub=most)
        self.model.addCons(variable == self.expression(polynomial))
        return variable

    def _needed(self, convs: Polynomial, limit: float) -> Any:
        """Return the entropy that n convolutions need under rho0: n ln(n / rho0)."""
        if all(not names for names in convs.terms):
            count = convs.terms[()]
            return count * math.log(count / limit)
        held = self._held(convs)
        self.model.chgVarLb(held, 1)
        return held * (scip.log(held) - math.log(limit))

    def _penalty(self) -> Any:
        """Return the depth penalty: beta exp(Var(L)) or 10 exp(std(L)), held from below as it is minimised."""
        problem = self.program.problem
        depths = [self.expressions[name] for name in self.program.penalised]
        count = len(depths)
        variance = sum(depth * depth for depth in depths) / count - (sum(depths) / count) * (sum(depths) / count)
        spread = self.model.addVar(lb=0, ub=30)
        reference = problem.objective == "reference"
        self.model.addCons((spread * spread if reference else spread) >= variance)
        penalty = self.model.addVar(lb=0, ub=None)
        self.model.addCons(penalty >= (REFERENCE_BETA if reference else problem.space.beta) * scip.exp(spread))
        return penalty
