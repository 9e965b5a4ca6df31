#!/bin/sh
# A container out of busybox: sandbox.sh IMAGE [-n NAME] [-v HOST GUEST] -- COMMAND…
image=$1 name=sandbox host='' guest=''
shift
while [ "$1" != -- ]; do
  case $1 in
  -n) name=$2 && shift 2 ;;
  -v) host=$2 guest=$3 && shift 3 ;;
  *) echo "usage: sandbox.sh IMAGE [-n NAME] [-v HOST GUEST] -- COMMAND…" >&2 && exit 2 ;;
  esac
done
shift
# shellcheck disable=SC2016
exec unshare -muinpf sh -c '
  image=$1 name=$2 host=$3 guest=$4
  shift 4
  hostname "$name"
  mount -t proc proc "$image/proc"
  [ -z "$host" ] || mount --bind "$host" "$image$guest"
  exec chroot "$image" "$@"
' sh "$image" "$name" "$host" "$guest" "$@"
