#!/bin/sh
# Install a Redis that speaks TLS with Debian's packages, as root; where that can't be, say what is needed, and go on without.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing Redis: ten seconds or so"
  # RUNLEVEL keeps the package from starting a server of its own.
  apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends redis-server >/dev/null
fi
command -v redis-server >/dev/null || echo "Redis isn't here: the tests of enrolment over TLS fail; as root, apt-get install redis-server" >&2
