#!/bin/bash
# Inside the root: suites.sh RUNTIME OUT.
runtime=$1 out=$2; rm -rf "$out"; mkdir -p "$out"
export TMPDIR=/tmp BATS_TMPDIR=/tmp HOME=/root PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cd /src/crun/tests
for test in test_*.py; do
  # Checkpoints need another program.
  [ $test = test_checkpoint_restore.py ] ||
    INIT=$PWD/init OCI_RUNTIME=$runtime timeout 60 python3 $test > "$out/crun-$test.tap" 2>/dev/null < /dev/null
done
cd /src/go/src/github.com/opencontainers/runtime-tools
for test in validation/*/*.t; do
  RUNTIME=$runtime timeout 60 $test > "$out/runtime-tools-$(basename $test .t).tap" 2>/dev/null < /dev/null ||
    echo "not ok - $test ended with an error" >> "$out/runtime-tools-$(basename $test .t).tap"
done
cd ../runc/tests/integration
for test in *.bats; do
  case $test in checkpoint.bats | mounts_sshfs.bats | cgroup_delegation.bats) continue ;; esac
  RUNC=$runtime timeout 300 bats --tap $test > "$out/runc-$test.tap" 2>/dev/null < /dev/null
done
exit 0
