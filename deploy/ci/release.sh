#!/usr/bin/env bash
# Makes the revision of a merged change from what the forge said: said/*.json, fetched by the pipeline before.
#
#   release.sh github|gitlab COMMIT PREVIOUS-COMMIT
#
# Needs the signing key in POLICY_SIGNING_KEY (its text) or POLICY_SIGNING_KEY_FILE; leaves policies.tar.gz and
# change.json.
set -euo pipefail
POLICIES=${POLICIES:-policies} SAMPLES=${SAMPLES:-policy-samples/calls.jsonl} KEY_ID=${KEY_ID:-ci}
PUBLIC_KEY=${PUBLIC_KEY:-policy-signing.public.pem}
forge=$1 commit=$2 previous=$3
here=$(dirname "$0")

govctl policy impact --base "git:$previous:$POLICIES" --candidate "$POLICIES" --samples "$SAMPLES" \
  --format json --out said/impact.json
files=()
for name in pull commits reviews commit checks settings; do
  if [ -e "said/$name.json" ]; then files+=("--$name" "said/$name.json"); fi
done
python3 "$here/change_record.py" "$forge" --built "$commit" "${files[@]}" --impact said/impact.json --out change.json

umask 077
key=$(mktemp)
trap 'rm -f "$key"' EXIT
if [ -n "${POLICY_SIGNING_KEY_FILE:-}" ]; then
  cat "$POLICY_SIGNING_KEY_FILE" >"$key"
else
  printf '%s\n' "${POLICY_SIGNING_KEY:?the secret that signs}" >"$key"
fi
govctl policy build --directory "$POLICIES" --change change.json --signing-key "$key" --key-id "$KEY_ID" \
  --out policies.tar.gz
govctl policy verify policies.tar.gz --key "$KEY_ID=$PUBLIC_KEY"
