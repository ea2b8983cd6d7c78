# Runs a recipe in a chroot over the layers below; everything it changes lands in the upper directory. Called in a mount
# namespace of its own, so every mount here ends with it.
# Arguments: lower directories joined by ":", upper, work, mount point, cache, recipe.
set -eu
lower=$1 upper=$2 work=$3 root=$4 cache=$5 recipe=$6
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$work,redirect_dir=off,metacopy=off,index=off" "$root"
mkdir -p "$cache/debs/partial" "$cache/lists/partial"
mount --bind "$cache/debs" "$root/var/cache/apt/archives"
mount --bind "$cache/lists" "$root/var/lib/apt/lists"
mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
if [ -z "$(find "$cache/lists" -maxdepth 1 -name '*Packages*' -mmin -600)" ]; then
    chroot "$root" apt-get update -q
fi
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive sh -eu -c "$recipe"
