#!/bin/sh
# Run by compose.yaml at every start: initialises a new Vault, opens it, sets it up for the connector (../vault/setup.sh)
# and puts a login where the connectors read it.
#
# DEV ONLY: the one unseal key and the root token stay in the volume vault-keys, so whoever has this machine has Vault.
# Production has its keys with people or a key service, and revokes the root token.
set -eu
umask 077
kept=/keys/DEV-ONLY-init.json

status=0
vault operator init -status >/dev/null 2>&1 || status=$?
case $status in
0) ;;
2)
  echo "vault-setup: a new Vault; its unseal key and root token go into the volume vault-keys (DEV ONLY)"
  vault operator init -key-shares=1 -key-threshold=1 -format=json >"$kept.new"
  mv "$kept.new" "$kept"
  ;;
*)
  echo "vault-setup: Vault does not answer at $VAULT_ADDR" >&2
  exit 1
  ;;
esac
if [ ! -s "$kept" ]; then
  echo "vault-setup: Vault was initialised by somebody else: open it and give the connectors a login by hand" >&2
  exit 1
fi

# value NAME: the first text after "NAME" in what init printed, a text of its own or the first of a list.
value() { tr -d ' \n' <"$kept" | sed -n "s/.*\"$1\":\[\{0,1\}\"\([^\"]*\)\".*/\1/p"; }

sealed=0
vault status >/dev/null 2>&1 || sealed=$?
if [ "$sealed" -eq 2 ]; then
  value unseal_keys_b64 | vault write sys/unseal key=- >/dev/null
  echo "vault-setup: open"
fi
VAULT_TOKEN=$(value root_token)
export VAULT_TOKEN
# A single node leads a moment after it was opened.
tries=0
until vault read sys/health >/dev/null 2>&1 && vault token lookup >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 60 ] || { echo "vault-setup: Vault does not become active" >&2; exit 1; }
  sleep 1
done

sh /etc/finx/vault/setup.sh

# Read by user 65532 in the connectors' containers; nobody else mounts this volume.
umask 022
vault read -field=role_id auth/approle/role/finx-connector/role-id >/login/role-id
vault write -f -field=secret_id auth/approle/role/finx-connector/secret-id >/login/secret-id.new
mv /login/secret-id.new /login/secret-id
echo "vault-setup: done"
