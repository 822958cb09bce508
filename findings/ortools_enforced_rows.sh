#!/bin/sh
# One would expect: CP-SAT's OPTIMAL is the optimum. Of three ways exactly one holds, each sets the cost by a row that
# its literal enforces, and the third way with `doubled` is worth 3 + 1 = 4.
# What happens: OR-Tools 9.15.6755 says OPTIMAL for less, with its default parameters and without presolve, and
# CpModel.validate() finds nothing to say; 9.14.6206 says 4. The rows hold coefficients of Booleans above 2^31, which
# 9.15 adds up in 32 bits when it looks whether a literal can be dropped (google/or-tools issue 5293: mended at the head,
# in no release yet). With coefficients below 2^30 both versions are right.
# Versions: ortools 9.15.6755 and 9.14.6206. Seen on 2026-11-29.
# This script fails when that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/rows.py" <<'PYTHON'
import sys

from ortools.sat.python import cp_model


def best(scale, presolve):
    model = cp_model.CpModel()
    ways = [model.new_bool_var(f"way {number}") for number in (1, 2, 3)]
    model.add_exactly_one(ways)
    doubled = model.new_bool_var("doubled")
    cost = model.new_int_var(0, 4 * scale, "cost")
    for number, way in enumerate(ways, start=1):
        model.add(cost == number * scale * doubled + number).only_enforce_if(way)
    model.maximize(sum(number * way for number, way in enumerate(ways, start=1)) + doubled)
    assert model.validate() == ""
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.cp_model_presolve = presolve
    status = solver.solve(model)
    assert status == cp_model.OPTIMAL
    return solver.objective_value


version = sys.argv[1]
for scale in (10**8, 10**10):
    for presolve in (True, False):
        value = best(scale, presolve)
        print(f"ortools {version}, coefficients of {scale:,} and more, presolve {presolve}: OPTIMAL {value}")
        assert (value == 4) is (version == "9.14.6206" or scale == 10**8), "this has changed"
PYTHON
for version in 9.15.6755 9.14.6206; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install -q "ortools==$version"
  "$folder/$version/bin/python" "$folder/rows.py" "$version"
done
