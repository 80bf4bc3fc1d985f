#!/usr/bin/env bash
# Asks GitHub how COMMIT of REPOSITORY came about, as the workflow's release needs it; answers go to said/.
set -euo pipefail
here=$(dirname "$0")
mkdir -p said

pages() { gh api --paginate --slurp "$1?per_page=100"; }

number_of() { gh api "repos/$REPOSITORY/commits/$1/pulls" | jq 'map(select(.merged_at))[0].number // empty'; }

number=$(number_of "$COMMIT")
test -n "$number" || { echo "This commit came by no pull request; it becomes no revision."; exit 1; }
runs="repos/$REPOSITORY/actions/workflows/policies.yml/runs"
released=$(gh api "$runs?branch=main&event=push&status=success&per_page=20" |
  jq --raw-output --arg commit "$COMMIT" '[.workflow_runs[] | select(.head_sha != $commit)][0].head_sha // empty')
previous=$("$here/previous.sh" "$COMMIT" "$released" "$BEFORE")
echo "$previous" >said/previous
# What was merged since and never released would come along, under the name of this pull request.
for each in $(git rev-list --first-parent "$previous..$COMMIT" -- "${POLICIES:-policies}"); do
  if [ "$(number_of "$each")" != "$number" ]; then
    echo "$each changed the policies, was never released and is not of pull request $number: release it first, or not."
    exit 1
  fi
done

gh api "repos/$REPOSITORY/commits/$COMMIT" >said/commit.json
gh api "repos/$REPOSITORY/pulls/$number" >said/pull.json
pages "repos/$REPOSITORY/pulls/$number/commits" | jq 'add // []' >said/commits.json
pages "repos/$REPOSITORY/pulls/$number/reviews" | jq 'add // []' >said/reviews.json
head=$(jq --raw-output .head.sha said/pull.json)
pages "repos/$REPOSITORY/commits/$head/check-runs" |
  jq '{total_count: .[0].total_count, check_runs: (map(.check_runs) | add)}' >said/checks.json
