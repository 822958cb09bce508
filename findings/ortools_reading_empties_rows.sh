#!/bin/sh
# One would expect: looking at a model changes nothing. Protocol buffers in Python return an empty message for a part of a
# oneof that is not set, and leave the part that is.
# What happens: in OR-Tools 9.15.6755, whose Python wraps the messages of C++, reading `constraint.linear.vars` of a
# constraint that is not linear makes it an empty linear one. The product x = a * b is gone, and validate() finds nothing
# to say; the empty row has an empty domain, so the solver says INFEASIBLE of a model whose optimum is 1. 9.14.6206 leaves
# the model as it is. `has_linear()` tells first (9.14: HasField("linear")).
# Versions: ortools 9.15.6755 and 9.14.6206. Seen on 2026-11-29.
# This script fails when that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/reading.py" <<'PYTHON'
import sys

from ortools.sat.python import cp_model


def status(look):
    model = cp_model.CpModel()
    a, b = model.new_bool_var("a"), model.new_bool_var("b")
    x = model.new_int_var(0, 9, "x")
    model.add_multiplication_equality(x, [a, b])
    model.maximize(x)
    if look:
        for constraint in model.proto.constraints:
            assert list(constraint.linear.vars) == []
    assert model.validate() == ""
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    return solver.status_name(solver.solve(model))


found = status(False), status(True)
print(sys.argv[1], *found)
assert found == ("OPTIMAL", "INFEASIBLE" if sys.argv[1] == "9.15.6755" else "OPTIMAL"), found
PYTHON
for version in 9.15.6755 9.14.6206; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip --quiet --disable-pip-version-check install "ortools==$version"
    "$folder/$version/bin/python" "$folder/reading.py" "$version"
done
