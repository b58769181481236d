# What bench/compare and bench/instructions share; they source it with their arguments.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/bench"
target=$(cd "$target" && pwd)
export PATH="$PATH:/usr/sbin"

without=","
arguments=("$@")
while [ $# -gt 0 ]; do
  case $1 in
    --without=*) without+="${1#*=}," ;;
    --without) without+="${2:-}," ;;
  esac
  shift
done
wanted() { [[ $without != *",$1,"* ]]; }

packages=()
# needs PROGRAM PACKAGE
needs() { command -v "$1" >/dev/null || packages+=("$2"); }
needs taskset util-linux
needs setpriv util-linux
# The core package, and the module for streams unless it is built in.
if wanted nginx; then
  needs nginx nginx-light
  if [[ $(nginx -V 2>&1) != *--with-stream\ * ]] && [ ! -e /usr/lib/nginx/modules/ngx_stream_module.so ]; then
    packages+=(libnginx-mod-stream)
  fi
fi
if wanted haproxy; then needs haproxy haproxy; fi

install_packages() {
  [ ${#packages[@]} -gt 0 ] || return 0
  local sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -q
  # RUNLEVEL=1: the packages' own services are not started.
  $sudo env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${packages[@]}"
}

# build_and_run PROGRAM SIBLING...: with Portcullis beside it, or the binary of PORTCULLIS=PATH. One build for both packages: on
# their own, they would build their dependencies with different features, and Portcullis twice.
build_and_run() {
  local program=$1 name bins=()
  for name in "$@"; do bins+=(--bin "$name"); done
  if [ -n "${PORTCULLIS:-}" ]; then
    arguments+=(--portcullis "$PORTCULLIS")
  elif wanted portcullis; then
    bins+=(--bin portcullis)
  fi
  cargo build --release --locked -p portcullis -p portcullis-bench "${bins[@]}"
  exec "$target/release/$program" --folder "$target/bench" "${arguments[@]}"
}
