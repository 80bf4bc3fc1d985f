#!/usr/bin/env bash
# Prints the commit that a release is compared with: the last one released, else the one before the push.
#
#   previous.sh COMMIT LAST-RELEASED BEFORE-THE-PUSH      either of the last two may be empty
set -euo pipefail
commit=$1 released=$2 before=$3
if [ -z "$released" ]; then
  released=$before
  if [ -z "${released//0/}" ]; then released=$(git rev-parse "$commit^"); fi
fi
if ! git merge-base --is-ancestor "$released" "$commit"; then
  echo "$released was released, and $commit does not come after it: it is older, or history was rewritten." >&2
  exit 1
fi
echo "$released"
