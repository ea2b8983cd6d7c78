# Makes the base: a minimal Debian without what only people need. Arguments: directory, mirror, cache.
set -eu
root=$1 mirror=$2 cache=$3
mkdir -p "$cache/bootstrap-debs"
debootstrap --variant=minbase --cache-dir="$cache/bootstrap-debs" bookworm "$root" "$mirror"
printf '%s\n' '#!/bin/sh' 'exit 101' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
printf '%s\n' 'path-exclude /usr/share/doc/*' 'path-exclude /usr/share/man/*' 'path-exclude /usr/share/info/*' \
    'path-exclude /usr/share/locale/*' 'path-exclude /usr/share/lintian/*' > "$root/etc/dpkg/dpkg.cfg.d/slim"
printf '%s\n' 'APT::Install-Recommends "false";' 'APT::Keep-Downloaded-Packages "true";' \
    'APT::Sandbox::User "root";' > "$root/etc/apt/apt.conf.d/slim"
for directory in usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/lintian dev run tmp var/tmp \
    var/cache/apt/archives var/lib/apt/lists var/log; do
    find "$root/$directory" -mindepth 1 -delete
done
rm -f "$root"/var/cache/apt/*.bin "$root"/var/lib/dpkg/*-old "$root"/etc/passwd- "$root"/etc/group- "$root"/etc/shadow-
rm -rf "$root"/var/cache/debconf/*-old "$root"/var/cache/ldconfig
mkdir -p "$root/run/lock"
chmod 1777 "$root/tmp" "$root/var/tmp" "$root/run/lock"
: > "$root/etc/machine-id"
: > "$root/etc/resolv.conf"
: > "$root/etc/hostname"
