#!/usr/bin/env bash
# Install modelspec: at VERSION from the package index, or, without one, from the commit of this action. EXTRAS are names
# with commas between them. `VERSION=installed` takes what is there.
set -euo pipefail

refuse() {
  printf '::error title=modelspec::%s\n' "$1"
  exit 2
}

# shellcheck disable=SC2153
[[ "$EXTRAS" =~ ^([a-z0-9]+(,[a-z0-9]+)*)?$ ]] || refuse "the input 'extras' is names with commas between them, such as: pytorch,serve"
[[ "$VERSION" =~ ^(installed|[0-9][0-9a-z.]*)?$ ]] || refuse "the input 'version' is a version such as 0.1.0, or: installed"
if [[ "$VERSION" != installed ]]; then
  extras=${EXTRAS:+"[$EXTRAS]"}
  if [[ -n "$VERSION" ]]; then
    what="modelspec-build$extras==$VERSION"
  else
    what="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)$extras"
  fi
  python -m pip install --quiet --disable-pip-version-check "$what"
fi
python -m modelspec --version
