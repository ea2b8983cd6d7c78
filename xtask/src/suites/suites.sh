#!/bin/bash
# Inside the root: suites.sh RUNTIME OUT [PATTERN]. Runs each file of tests whose name PATTERN finds something in.
runtime=$1 out=$2 pattern=${3:-}; mkdir -p "$out"
export TMPDIR=/tmp BATS_TMPDIR=/tmp HOME=/root PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export RUNC=$runtime RUNTIME=$runtime OCI_RUNTIME=$runtime INIT=/src/crun/tests/init

cgroups() { find /sys/fs/cgroup -mindepth 2 -type d | sort; }

# Removes the cgroups that a file of tests has left; what is frozen in them does not end before it is thawed.
sweep() { # BEFORE
  local left; left=$(comm -13 <(echo "$1") <(cgroups) | sort -r)
  for directory in $left; do
    if [ -e "$directory/freezer.state" ]; then echo THAWED > "$directory/freezer.state"; fi
  done
  for directory in $left; do
    for _ in {1..50}; do rmdir "$directory" && break; sleep 0.1; done
  done
}

# In a process namespace of its own, which ends with the time: what a test leaves behind ends too. Some runtimes leave
# files in the hierarchy of version 2 of a hybrid machine, on which the tests after them would fail. A file that does not
# end in time is one failure more; one that says nothing is one test, of how it ended.
file() { # NAME SECONDS COMMAND...
  [[ $1 =~ $pattern ]] || return 0
  local tap=$out/$1.tap before status=0; before=$(cgroups)
  # The shell stays in front: it takes care of orphans, which a test would not.
  timeout --signal KILL "$2" unshare --pid --fork --kill-child --mount --mount-proc \
    bash -c 'for place in /tmp /run /sys/fs/cgroup/unified; do [ ! -d $place ] || mount -t tmpfs tmpfs $place; done
      "$@"; exit $?' - "${@:3}" \
    > "$tap" 2> "$out/$1.err" < /dev/null || status=$?
  [ $status != 137 ] || echo "not ok - it did not end in $2 seconds" >> "$tap"
  if ! grep -qE '^(not )?ok ' "$tap"; then
    [ $status = 0 ] || printf 'not ' >> "$tap"; echo "ok - it ended with $status" >> "$tap"
  fi
  sweep "$before" 2> /dev/null
  # Some runtimes give the streams of a program to its user, and the nodes are the host's.
  chown root:root /dev/null
}

cd /src/crun/tests
for test in test_*.py; do
  # Checkpoints need another program.
  # Their directories have the number of the process, which is the same in every namespace.
  rm -rf .testsuite-run-*
  [ $test = test_checkpoint_restore.py ] || file crun-$test 180 python3 $test
done
cd /src/go/src/github.com/opencontainers/runtime-tools
for test in validation/*/*.t; do file runtime-tools-$(basename $test .t) 60 $test; done
cd ../runc/tests/integration
for test in *.bats; do
  case $test in checkpoint.bats | mounts_sshfs.bats | cgroup_delegation.bats) continue ;; esac
  file runc-$test 240 bats --tap $test
done
exit 0
