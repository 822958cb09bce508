"""The plain product model in CP-SAT: products by multiplication constraints, logarithms by element tables."""

import math
from functools import reduce

import numpy as np
from ortools.sat.python import cp_model

from benchmarks.formulations.natural import NaturalProgram
from benchmarks.formulations.polynomials import Polynomial, log_name
from benchmarks.formulations.traces import Trace
from deepmad.engine.program.entropy import Scale
from deepmad.engine.program.objectives import depth_penalty, entropy_factor

LOG_UNIT = 2**12
"""One nat in the program; logarithms are rounded up, so that a bound on the program is one on the problem."""


def solve_product_model(program: NaturalProgram, trace: Trace, *, seconds: float, workers: int, seed: int) -> None:
    """Solve with CP-SAT, noting every network and bound in `trace`."""
    model = _Model(program)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = workers
    solver.parameters.random_seed = seed
    solver.best_bound_callback = trace.lower

    class Note(cp_model.CpSolverSolutionCallback):
        def on_solution_callback(self) -> None:
            trace.offer(program.network({name: self.value(model.variables[name]) for name in program.values}))

    status = solver.solve(model.model, Note())
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        trace.lower(solver.best_objective_bound)


class _Model:
    def __init__(self, program: NaturalProgram) -> None:
        self.program, self.model = program, cp_model.CpModel()
        self.variables: dict[str, cp_model.IntVar] = {}
        self.ranges: dict[str, tuple[int, int]] = {}
        self.products: dict[tuple[str, ...], str] = {}
        # Variables: every unknown by its index, and its logarithm by the same index.
        for name, values in program.values.items():
            self._unknown(name, values)
        # Limits and rules: polynomials in the unknowns.
        for total, limit in program.costs:
            self.model.add(self.linear(total) <= math.floor(limit))
        for rule in program.rules:
            self.model.add(self.linear(rule, scale=10) >= 0)  # the ratios have one digit after the point
        # Objective: the scales' weighted entropies less the depth penalty.
        problem = program.problem
        weights = [alpha * entropy_factor(problem.objective) for alpha in problem.space.weights]
        gains = [
            weight / LOG_UNIT**2 * self._entropy(place, scale)
            for place, (weight, scale) in enumerate(zip(weights, program.scales, strict=True))
        ]
        self.model.maximize(sum(gains) - 2.0**-20 * self._penalty())

    def _variable(self, name: str, low: int, high: int) -> cp_model.IntVar:
        self.ranges[name] = (low, high)
        self.variables[name] = self.model.new_int_var(low, high, name)
        return self.variables[name]

    def _element(self, name: str, index: cp_model.LinearExprT, table: list[int]) -> cp_model.IntVar:
        variable = self._variable(name, min(table), max(table))
        self.model.add_element(index, table, variable)
        return variable

    def _unknown(self, name: str, values: tuple[int, ...]) -> None:
        index = self.model.new_int_var(0, len(values) - 1, f"{name} index")
        self._element(name, index, list(values))
        self._element(log_name(name), index, [math.ceil(math.log(value) * LOG_UNIT) for value in values])

    def _product(self, names: tuple[str, ...]) -> str:
        """Return the name of the variable that equals a product of unknowns."""
        if names in self.products or len(names) == 1:
            return self.products.get(names, names[0])
        factors = [self._product(names[:-1]), names[-1]]
        lows, highs = zip(*(self.ranges[factor] for factor in factors), strict=True)
        name = " * ".join(names)
        product = self._variable(name, math.prod(lows), math.prod(highs))
        self.model.add_multiplication_equality(product, [self.variables[factor] for factor in factors])
        self.products[names] = name
        return name

    def linear(self, polynomial: Polynomial, scale: int = 1, logs: int = 0) -> cp_model.LinearExprT:
        """Return a polynomial times `scale` over product variables.

        With `logs` = 1 each term is worth LOG_UNIT times as much, its logarithm, where it has one, already so.
        """
        total: cp_model.LinearExprT = 0
        for names, coefficient in polynomial.terms.items():
            has = sum(name.startswith(log_name("")) for name in names)
            factor = math.ceil(coefficient * scale * LOG_UNIT ** (logs - has) - 1e-9)
            total = total + (factor * self.variables[self._product(names)] if names else factor)
        return total

    def _entropy(self, place: int, scale: Scale) -> cp_model.IntVar:
        """Return ln(r^2 c) * E of a scale in units of 1 / LOG_UNIT^2, and keep rho there: E >= n ln(n / rho0)."""
        area, sums = np.log(scale.side**2 * scale.channels), scale.log_widths
        factors = []
        for name, polynomial in ((f"area{place}", area), (f"logs{place}", sums)):
            high = self._most(Polynomial.of(polynomial))
            variable = self._variable(name, 0, high)
            self.model.add(variable == self.linear(Polynomial.of(polynomial), logs=1))
            factors.append(variable)
        self._effectiveness(place, scale, factors[1])
        product = self._variable(
            f"entropy{place}", 0, math.prod(self.ranges[f"{name}{place}"][1] for name in ("area", "logs"))
        )
        self.model.add_multiplication_equality(product, factors)
        return product

    def _effectiveness(self, place: int, scale: Scale, logs: cp_model.IntVar) -> None:
        limit = self.program.problem.budget.rho
        if limit is None:
            return
        convs = Polynomial.of(scale.depth)
        most = int(sum(c * math.prod(max(self.program.values[n]) for n in names) for names, c in convs.terms.items()))
        needed = [0] + [math.floor(n * math.log(n / limit) * LOG_UNIT) for n in range(1, most + 1)]
        if all(not names for names in convs.terms):
            self.model.add(logs >= needed[most])
        else:
            self.model.add(logs >= self._element(f"needed{place}", self.linear(convs), needed))

    def _most(self, polynomial: Polynomial) -> int:
        """Return an upper bound on a sum of logarithms, in units of 1 / LOG_UNIT."""
        total = 0
        for names, coefficient in polynomial.terms.items():
            has = sum(name.startswith(log_name("")) for name in names)
            largest = math.prod(self.ranges[name][1] for name in names)
            total += max(0, math.ceil(coefficient * LOG_UNIT ** (1 - has)) * largest)
        return total

    def _penalty(self) -> cp_model.LinearExprT:
        """Return the depth penalty in units of 2^-20, by a table over m^2 Var(L)."""
        problem, names = self.program.problem, self.program.penalised
        count = len(names)
        squares = reduce(Polynomial.__add__, (Polynomial({(name, name): count}) for name in names))
        total = reduce(Polynomial.__add__, map(Polynomial.unknown, names))
        spans = [self.ranges[name] for name in names]
        widest = (count * (max(high for _, high in spans) - min(low for low, _ in spans))) ** 2 // 4
        spreads = np.arange(widest + 1)
        pair = [np.zeros(len(spreads)), 2 * np.sqrt(spreads) / count]
        penalties = np.minimum(np.asarray(depth_penalty(problem.objective, pair, problem.space.beta)), 1e6)
        return self._element(
            "penalty", self.linear(squares - total**2), np.floor(penalties * 2**20).astype(int).tolist()
        )
