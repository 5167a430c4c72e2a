#!/bin/sh
# Makes sure that the Debian packages behind the build and the local stack are there.
#
#   deps.sh            what `make run` needs
#   deps.sh test       that, and what `make test` and `make lint` need
#
# Nothing missing: says nothing, in well under 0.2 s. Something missing: as root it is installed with apt-get, anybody
# else is told the exact command and gets exit status 1. Standard output stays empty: `make run` prints its line there.
set -eu
exec 1>&2

build="gcc make pkg-config libc6-dev libuv1-dev librdkafka-dev libhiredis-dev libcurl4-openssl-dev libmicrohttpd-dev
libjansson-dev libyaml-dev libjq-dev libgumbo-dev libssl-dev zlib1g-dev"
stack="redis-server maven python3 python3-yaml ca-certificates"
tests="libcmocka-dev liblua5.1-0-dev clang libclang-rt-14-dev clang-format cppcheck python3-venv universal-ctags git curl procps"

wanted="$build $stack"
[ "${1:-}" != test ] || wanted="$wanted $tests"

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is not Debian; needed are the equivalents of: $wanted, a Java runtime (17 or newer)"
    exit 1
fi

# shellcheck disable=SC2086
present=" $(dpkg-query -W -f='${db:Status-Status}=${Package} ' $wanted 2>/dev/null || true)"
missing=""
for package in $wanted; do
    case "$present" in *" installed=$package "*) ;; *) missing="$missing $package" ;; esac
done
if ! command -v java >/dev/null; then
    missing="$missing default-jre-headless"
fi
if [ "${1:-}" = test ] && ! command -v node >/dev/null; then
    missing="$missing nodejs npm"
fi
if [ -z "$missing" ]; then
    exit 0
fi

if [ "$(id -u)" -ne 0 ]; then
    echo "deps: missing packages. Install them with:"
    echo "  sudo apt-get update && sudo apt-get install --no-install-recommends$missing"
    exit 1
fi

# A package may start its service at once (redis-server on 6379): the stack starts its own, so forbid it meanwhile.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
echo "deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086
apt-get install -y -q --no-install-recommends $missing
