#!/bin/sh
# Run by compose.yaml at every start: initialises a new Vault, opens it, sets it up for the connector (../vault/setup.sh)
# and leaves a login where the connectors read it.
#
# DEV ONLY: the one unseal key and the root token stay in the volume vault-keys, so whoever has this machine has Vault.
# Production has its keys with people or a key service, and revokes the root token.
set -eu
umask 077
kept=/keys/DEV-ONLY-init.json

say() { echo "vault-setup: $*"; }
fail() { say "$*" >&2; exit 1; }
# vault METHOD PATH: sends what comes in, prints what comes back.
vault() { curl -sS --fail-with-body --max-time 20 -X "$1" --data-binary @- "$VAULT_ADDR/v1/$2"; }
# text NAME: the text called NAME in what comes in, or the first of a list of texts.
text() { tr -d ' \n' | sed -n "s/.*\"$1\":\[\{0,1\}\"\([^\"]*\)\".*/\1/p"; }
# is NAME: whether NAME is true in what Vault says about itself.
is() { curl -sS --max-time 20 "$VAULT_ADDR/v1/sys/seal-status" | tr -d ' ' | grep -q "\"$1\":true"; }

if ! is initialized; then
  say 'a new Vault; its unseal key and root token go into the volume vault-keys (DEV ONLY)'
  echo '{"secret_shares":1,"secret_threshold":1}' | vault PUT sys/init >"$kept.new"
  mv "$kept.new" "$kept"
fi
[ -s "$kept" ] || fail 'Vault was initialised by somebody else: open it, and give the connectors a login by hand'
if is sealed; then
  printf '{"key":"%s"}' "$(text keys_base64 <"$kept")" | vault PUT sys/unseal >/dev/null
  say open
fi
tries=0
until curl -sS -o /dev/null --fail --max-time 5 "$VAULT_ADDR/v1/sys/health" 2>/dev/null; do # a single node leads a moment after it was opened
  tries=$((tries + 1))
  [ "$tries" -lt 60 ] || fail 'Vault does not become active'
  sleep 1
done

# A new one at each start, since one that is thirty days old is of no use. The one before stays until it is there: connectors
# read the file again at each login.
rm -f /login/secret-id.new
# Standard output is the connector's environment, of which only the role id is not known beforehand.
VAULT_TOKEN=$(text root_token <"$kept") SECRET_ID_FILE=/login/secret-id.new sh /etc/finx/vault/setup.sh >/tmp/environment
sed -n 's/^VAULT_ROLE_ID=//p' /tmp/environment >/login/role-id
# Nobody but the connectors mounts this volume, and they run as somebody else.
chmod 644 /login/role-id /login/secret-id.new
mv -f /login/secret-id.new /login/secret-id
say done
