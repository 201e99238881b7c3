#!/usr/bin/env bash
# Runs `bench` from a copy of the repository on a machine where nothing is installed but torch and its usual company:
# no network, no pip, no SLURM. The folders are linked under the name `seqdis`; data are prepared from files at hand.
#
#   bash examples/bare_machine.sh FILES COMMAND [ARGUMENTS]
#
#   FILES      folder with lpc-sprites/ and mnist/ as far as there are any (prepared once, into $WORK/data)
#   COMMAND    of `bench`: run, perf, doctor, table, pack, ...
#
# WORK (default /tmp/seqdis) keeps links, data and runs between commands; PYTHON (default python3) is the interpreter.
# SEQDIS_COMMIT is the commit of a copy that has no .git folder: records name it.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '5,8s/^# \{0,1\}//p' "$0"; exit 2; }
repository=$(cd "$(dirname "$0")/.." && pwd)
files=$1
shift
work=${WORK:-/tmp/seqdis}
mkdir -p "$work/site/seqdis"
for room in bench methods datasets judges results; do ln -sfn "$repository/$room" "$work/site/seqdis/$room"; done
# -P: without it the repository's own `datasets` would stand in the way of another package of that name.
export PYTHONPATH=$work/site SEQDIS_DATA=${SEQDIS_DATA:-$work/data} PYTHONUNBUFFERED=1
bench() { "${PYTHON:-python3}" -P -m seqdis.bench.cli "$@"; }
size=${SIZE:-64}
if [ -d "$files/lpc-sprites" ] && [ ! -e "$SEQDIS_DATA/sprites-real-$size/meta.json" ]; then
  bench data prepare sprites --from "$files/lpc-sprites" --size "$size"
fi
if [ -d "$files/mnist" ] && [ ! -e "$SEQDIS_DATA/smmnist-10k-real/meta.json" ]; then
  bench data prepare smmnist-10k --from "$files/mnist" || echo "SM-MNIST was not prepared" >&2
fi
exec "${PYTHON:-python3}" -P -m seqdis.bench.cli "$@"
