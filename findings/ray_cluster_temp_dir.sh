#!/bin/sh
# One would expect: `ray.cluster_utils.Cluster` with a `temp_dir` of its own leaves Ray's default folder
# ($RAY_TMPDIR, $TMPDIR or /tmp, and "ray" under it) alone, as `ray.init(_temp_dir=...)` does.
# What happens: the head's address is written to `ray_current_cluster` in the default folder all the same. Where no Ray
# ever ran that folder is missing, and the cluster ends with FileNotFoundError; where one runs, the address of that one
# is overwritten, so that `ray.init("auto")` of other programs joins the wrong cluster.
# The way out: RAY_TMPDIR=FOLDER in the environment in the place of `temp_dir`.
# Seen with ray 2.60.0, Python 3.11, on 2026-11-29. Fails if that changes.
set -eu
folder=$(mktemp -d /tmp/f-XXXXXX)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'ray==2.60.0'
mkdir "$folder/tmp"
export TMPDIR=$folder/tmp RAY_USAGE_STATS_ENABLED=0
unset RAY_TMPDIR
cat > "$folder/start.py" <<'PYTHON'
import sys
from pathlib import Path

from ray._common.utils import get_default_ray_temp_dir
from ray.cluster_utils import Cluster

settings = {"temp_dir": sys.argv[1]} if len(sys.argv) > 1 else {}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **settings})
print("started; the default folder has", sorted(path.name for path in Path(get_default_ray_temp_dir()).glob("ray_*")))
cluster.shutdown()
PYTHON
told=$("$folder/venv/bin/python" "$folder/start.py" "$folder/own" 2>&1 | tail -n 1) || true
echo "with temp_dir:   $told"
[ "$told" = "FileNotFoundError: [Errno 2] No such file or directory: '$TMPDIR/ray/ray_current_cluster'" ]
told=$(RAY_TMPDIR=$folder "$folder/venv/bin/python" "$folder/start.py" 2> "$folder/log")
echo "with RAY_TMPDIR: $told"
[ "$told" = "started; the default folder has ['ray_current_cluster']" ] && [ ! -e "$TMPDIR/ray" ]
