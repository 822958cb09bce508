#!/bin/sh
# One would expect: making a solver object prints nothing, or at least nothing that its option `output_flag` could not stop.
# What happens: in highspy 1.16.0 `highspy.Highs()` prints two lines of banner on standard output as it is made, before
# any option can be set; a program whose standard output is JSON is broken by it. `Highs` enables callbacks as it is made;
# the class under it, which does not, stays silent, and so does `solve` with `output_flag` off.
# Versions: highspy 1.16.0, numpy 2.4.6. Seen on 2026-11-29.
# This script fails when that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --quiet --disable-pip-version-check install "highspy==1.16.0" "numpy==2.4.6"
said() {
    "$folder/venv/bin/python" -c "$1" 2>/dev/null
}
imported=$(said 'import highspy')
made=$(said 'import highspy; highspy.Highs()')
below=$(said 'import highspy; solver = highspy.Highs.__base__(); solver.setOptionValue("output_flag", False); solver.run()')
echo "import: '$imported'"
echo "Highs(): '$made'"
echo "its base class, output off, run: '$below'"
[ -z "$imported" ] && [ -z "$below" ]
[ "$(printf '%s\n' "$made" | wc -l)" = 2 ]
printf '%s\n' "$made" | grep -q '^Running HiGHS 1.16.0'
