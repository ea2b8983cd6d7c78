#!/bin/bash
# Runs the suites against one runtime: run.sh ROOT RUNTIME OUT [PATTERN]. Leaves TAP in OUT, a directory in ROOT.
# In a mount namespace of its own, where ROOT is the root, and the version 2 cgroups of hybrid machines are not mounted:
# crun refuses those.
set -euo pipefail
exec unshare --mount bash -ec '
  root=$1; mount --make-rprivate /; mount --bind "$root" "$root"; cd "$root"
  for directory in proc sys dev; do mount --rbind /$directory $directory; done
  umount sys/fs/cgroup/unified 2>/dev/null || true
  mount -t tmpfs tmpfs run; mount -t tmpfs tmpfs tmp; mkdir -p old; pivot_root . old; cd /; umount -l /old
  exec bash /src/suites.sh "${@:2}"' -- "$@"
