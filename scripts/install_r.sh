#!/bin/sh
# Install R's interpreter with Debian's packages, as root; where that can't be, say what is needed, and go on without.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing R: ten seconds or so"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends r-base-core >/dev/null
fi
command -v Rscript >/dev/null || echo "R isn't here: the tests of a client in R fail; as root, apt-get install r-base-core" >&2
