#!/bin/bash
# Fetches and builds the suites of other runtimes in $1, which is a Debian 13 root: prepare.sh ROOT.
set -euo pipefail
root=$1
packages=bats,busybox-static,crun,curl,gawk,gcc,git,golang-go,iproute2,jq,libc6-dev,libseccomp-dev,make,pkg-config,procps
packages+=,python3,runc,uidmap,xz-utils
golang=(blang-semver checkpoint-restore-go-criu cilium-ebpf containerd-console coreos-go-systemd cyphar-filepath-securejoin
  docker-go-units google-uuid hashicorp-go-multierror moby-sys mrunalp-fileutils opencontainers-runtime-tools
  opencontainers-selinux seccomp-libseccomp-golang sirupsen-logrus urfave-cli vishvananda-netlink xeipuuv-gojsonschema)
for name in "${golang[@]}"; do packages+=,golang-github-$name-dev; done
packages+=,golang-google-protobuf-dev,golang-golang-x-sys-dev,golang-golang-x-net-dev
if [ ! -f "$root/ready" ]; then
  rm -rf "$root"; mkdir -p "$root"
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -1)
  debootstrap --variant=minbase --include="$packages" trixie "$root" "$mirror"
  # The sources as their authors published them; what Debian changes about them is not needed.
  chroot "$root" sh -ec "
    echo 'deb-src $mirror trixie main' > /etc/apt/sources.list.d/src.list; apt-get update -q
    mkdir -p /src && cd /src
    apt-get source -q --download-only crun runc golang-github-opencontainers-runtime-tools || true
    for archive in *.orig.tar.*; do case \$archive in *.asc) ;; *) tar xf \$archive ;; esac; done"
  touch "$root/ready"
fi
go=$root/src/go/src/github.com
mkdir -p "$go/opencontainers" "$go/mndrix/tap-go" "$root/src/out"
[ -e "$go/opencontainers/runc" ] || mv "$root"/src/runc-* "$go/opencontainers/runc"
[ -e "$go/opencontainers/runtime-tools" ] || mv "$root"/src/golang-github-opencontainers-runtime-tools-* "$go/opencontainers/runtime-tools"
[ -e "$root/src/crun" ] || mv "$root"/src/crun-* "$root/src/crun"
cp "$(dirname "$0")/tap.go" "$go/mndrix/tap-go/tap.go"
chroot "$root" bash -ec '
  export GOROOT=$(echo /usr/lib/go-[0-9]*) GOTELEMETRY=off GO111MODULE=off GOPATH=/src/go:/usr/share/gocode GOCACHE=/src/gocache
  cd /src/go/src/github.com/opencontainers/runc
  for tool in recvtty sd-helper seccompagent; do go build -tags seccomp -o contrib/cmd/$tool/$tool ./contrib/cmd/$tool; done
  cd ../runtime-tools
  CGO_ENABLED=0 go build -tags "netgo osusergo" -o runtimetest ./cmd/runtimetest
  for test in validation/*/; do
    name=$(basename $test); [ $name = util ] || go build -o $test/$name.t ./validation/$name
  done
  cd /src/crun/tests
  echo "#define HAVE_SECCOMP 1" > config.h; gcc -I. -static -D_GNU_SOURCE -o init init.c -lseccomp
  # The images that the tests of runc would download: busybox with all its commands. Like those they have neither /proc
  # nor /sys.
  image=/src/image; rm -rf $image; mkdir -p $image/{bin,dev,etc,home,lib,root,run,tmp,usr/bin,usr/sbin,var}
  cp /bin/busybox $image/bin/busybox
  for name in $(busybox --list); do [ $name = busybox ] || ln $image/bin/busybox $image/bin/$name; done
  ln $image/bin/busybox $image/usr/bin/env
  printf "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n" > $image/etc/passwd
  printf "root:x:0:\nnobody:x:65534:\n" > $image/etc/group
  touch $image/etc/{hosts,hostname,resolv.conf}; chmod 1777 $image/tmp
  data=/src/go/src/github.com/opencontainers/runc/tests/integration/testdata
  tar -C $image -cJf $data/busybox-amd64.tar.xz . && cp $data/busybox-amd64.tar.xz $data/debian-amd64.tar.xz'
