#!/usr/bin/env bash
# One step of the review of a change: what it says goes to review/, and its outcome for the comment.
#
#   review.sh check | test | build | impact BASE-COMMIT | comment
#
# POLICIES: directory of the policies; SAMPLES: recorded calls; FAIL_ON: thresholds of the impact.
set -euo pipefail
POLICIES=${POLICIES:-policies} SAMPLES=${SAMPLES:-policy-samples/calls.jsonl} FAIL_ON=${FAIL_ON:-}
here=$(dirname "$0")
mkdir -p review

check() { govctl policy check "$POLICIES" --strict; }

test_() { govctl policy test "$POLICIES" --junit review/tests.xml; }

build() {
  local one two
  one=$(mktemp) two=$(mktemp)
  govctl policy build --directory "$POLICIES" --out "$one"
  govctl policy build --directory "$POLICIES" --out "$two" >/dev/null
  cmp "$one" "$two"
  rm -f "$one" "$two"
}

impact() {
  govctl policy diff "git:$1:$POLICIES" "$POLICIES" --markdown >review/diff.md
  # shellcheck disable=SC2086 # thresholds are words
  govctl policy impact --base "git:$1:$POLICIES" --candidate "$POLICIES" --samples "$SAMPLES" \
    --format markdown --out review/impact.md --write json=review/impact.json --write sarif=review/impact.sarif $FAIL_ON
}

step=$1
shift
case $step in
  check) run=check ;;
  test) run=test_ ;;
  build) run=build ;;
  impact) run=impact ;;
  comment) exec python3 "$here/comment.py" review ;;
  *)
    echo "review.sh: no step $step; there are check, test, build, impact and comment." >&2
    exit 2
    ;;
esac
# In a shell of its own: behind || or if, bash would not stop at the first command that fails.
set +e
(
  set -e
  "$run" "$@"
) 2>&1 | tee "review/$step.txt"
status=${PIPESTATUS[0]}
echo "$status" >"review/$step.status"
exit "$status"
