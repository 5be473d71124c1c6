#!/bin/sh
# Install Chromium with Debian's packages, as root; where that can't be, say what is needed, and go on without.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing Chromium: a minute or so"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium >/dev/null
fi
command -v chromium >/dev/null || echo "Chromium isn't here: make page-check fails; as root, apt-get install chromium" >&2
