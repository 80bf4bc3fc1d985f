#!/usr/bin/env bash
# Sets up on Vault or OpenBao what a gateway's configuration needs, and no more: its policy, the role that it logs in
# by, KV mounts that are missing. Afterwards the token that did it is revoked, unless --keep-token says otherwise.
#
# usage: VAULT_ADDR=… VAULT_TOKEN=… [VAULT_CACERT=…] deploy/vault/setup.sh [--config FILE] [--keep-token]
#
# VAULT_TOKEN is an administrator's token: it comes by the environment, since arguments are seen by everybody.
set -euo pipefail

config=govgateway.yaml keep=no
while [ $# -gt 0 ]; do
  case $1 in
    --config) config=$2; shift 2 ;;
    --keep-token) keep=yes; shift ;;
    *) echo "usage: $0 [--config FILE] [--keep-token]" >&2; exit 2 ;;
  esac
done
: "${VAULT_ADDR:?is not set: the address of Vault}" "${VAULT_TOKEN:?is not set: a token of an administrator}"
program=${VAULT_PROGRAM:-$(command -v bao || command -v vault || true)}
[ -n "$program" ] || { echo "Neither bao nor vault is installed, and VAULT_PROGRAM names none." >&2; exit 1; }
govctl=${GOVCTL:-govctl}
export BAO_ADDR=$VAULT_ADDR BAO_TOKEN=$VAULT_TOKEN BAO_CACERT=${VAULT_CACERT:-}

"$govctl" config show --config "$config" --json |
  python3 -c 'import json, sys
for mount in json.load(sys.stdin)["secrets"]["vault"]["mounts"]:
    if mount["engine"].startswith("kv"):
        print(mount["path"], mount["engine"][-1])' |
  while read -r path version; do
    if ! "$program" secrets list -format=json | grep -q "\"$path/\""; then
      "$program" secrets enable -path="$path" -version="$version" kv >/dev/null
      echo "Mounted kv version $version at $path/."
    fi
  done

if [ "$("$program" audit list -format=json 2>/dev/null || echo '{}')" = '{}' ]; then
  echo "No audit device is enabled: enable one, so that Vault records who reads what." >&2
fi

"$govctl" secret doctor --config "$config" --print-setup --command "$program" | bash -euo pipefail
if [ "$keep" = yes ]; then
  echo "Done. The token you gave is still good: revoke it."
else
  "$program" token revoke -self >/dev/null
  echo "Done. The token you gave is revoked."
fi
