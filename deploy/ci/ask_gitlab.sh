#!/usr/bin/env bash
# Asks GitLab how CI_COMMIT_SHA came about, as the pipeline's release needs it; answers go to said/.
# POLICY_READ_TOKEN may read the API.
set -euo pipefail
here=$(dirname "$0")
project="$CI_API_V4_URL/projects/$CI_PROJECT_ID"
mkdir -p said

# The token goes by a pipe, not by the command line, which other users of the machine could read.
get() {
  curl --fail --silent --show-error --config <(printf 'header = "PRIVATE-TOKEN: %s"\n' "$POLICY_READ_TOKEN") "$1"
}

number_of() {
  get "$project/repository/commits/$1/merge_requests" | jq 'map(select(.state == "merged"))[0].iid // empty'
}

number=$(number_of "$CI_COMMIT_SHA")
test -n "$number" || { echo "This commit came by no merge request; it becomes no revision."; exit 1; }
deployments="$project/deployments?environment=policies&status=success&order_by=id&sort=desc&per_page=20"
released=$(get "$deployments" |
  jq --raw-output --arg commit "$CI_COMMIT_SHA" 'map(select(.sha != $commit))[0].sha // empty')
previous=$("$here/previous.sh" "$CI_COMMIT_SHA" "$released" "$CI_COMMIT_BEFORE_SHA")
echo "$previous" >said/previous
# What was merged since and never released would come along, under the name of this merge request.
for each in $(git rev-list --first-parent "$previous..$CI_COMMIT_SHA" -- "${POLICIES:-policies}"); do
  if [ "$(number_of "$each")" != "$number" ]; then
    echo "$each changed the policies, was never released and is not of merge request $number: release it first, or not."
    exit 1
  fi
done

get "$project/merge_requests/$number" >said/pull.json
get "$project/merge_requests/$number/approvals" >said/reviews.json
get "$project/approvals" >said/settings.json || echo '{}' >said/settings.json
get "$project/repository/commits/$CI_COMMIT_SHA/signature" >said/commit.json || echo '{}' >said/commit.json
pipeline=$(jq '.head_pipeline.id' said/pull.json)
page=1
: >said/jobs.txt
while true; do
  get "$project/pipelines/$pipeline/jobs?per_page=100&page=$page" >said/page.json
  cat said/page.json >>said/jobs.txt
  if [ "$(jq length said/page.json)" -lt 100 ]; then break; fi
  page=$((page + 1))
done
jq --slurp add said/jobs.txt >said/checks.json
