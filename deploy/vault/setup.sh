#!/bin/sh
# Prepares a Vault for finx-connector: a KV v2 mount that keeps one version and takes no blind write,
# a transit key that cannot leave Vault, the policies beside this file, and a login for the connector.
# What is there already and right is left alone, so running it again changes nothing.
#
#   VAULT_ADDR=https://vault:8200 VAULT_TOKEN_FILE=admin.token SECRET_ID_FILE=secret-id ./setup.sh
#
# It speaks HTTP with curl, for a Vault and an OpenBao alike, and needs no vault program. Standard output
# is the connector's environment; what was done goes to standard error. Exit code 0 when all is as it
# should be, 1 when something could not be done, 2 for wrong usage.
#
#   VAULT_ADDR, VAULT_NAMESPACE, VAULT_CACERT, VAULT_CLIENT_CERT, VAULT_CLIENT_KEY   as everywhere
#   VAULT_TOKEN or VAULT_TOKEN_FILE   of somebody who may mount engines and write policies and logins
#   VAULT_KV_MOUNT (finx)  VAULT_KV_PREFIX (finx)  VAULT_TRANSIT_MOUNT (transit)  VAULT_TRANSIT_KEY (finx-escrow)
#   VAULT_AUTH (approle)   how the connector logs in: approle or kubernetes
#   VAULT_AUTH_MOUNT       where that is mounted; by default its name
#   ROLE (finx-connector)  name of the connector's role and policy
#   TOKEN_TTL (1200)  TOKEN_MAX_TTL (86400)   seconds; the connector renews, then logs in again
#   BOUND_CIDRS            comma list of networks from which the login and its tokens are taken; empty: any
# With VAULT_AUTH=approle:
#   SECRET_ID_FILE         where to put a secret id; one that is there is kept. Empty: none is made
#   SECRET_ID_TTL (2592000)   seconds; replace the file before they are over, it is read again at each login
# With VAULT_AUTH=kubernetes:
#   K8S_HOST               address of the API server, where this Vault's login is not configured yet
#   K8S_SERVICE_ACCOUNT (finx-connector)  K8S_NAMESPACE (finx)  K8S_AUDIENCE (none)
# And:
#   AUDIT_FILE             path on Vault's host; enables a file audit device when there is none at all
set -eu

here=$(cd "$(dirname "$0")" && pwd)
: "${VAULT_KV_MOUNT:=finx}" "${VAULT_KV_PREFIX:=finx}" "${VAULT_TRANSIT_MOUNT:=transit}" "${VAULT_TRANSIT_KEY:=finx-escrow}"
: "${VAULT_AUTH:=approle}" "${ROLE:=finx-connector}" "${TOKEN_TTL:=1200}" "${TOKEN_MAX_TTL:=86400}" "${BOUND_CIDRS:=}"
: "${SECRET_ID_FILE:=}" "${SECRET_ID_TTL:=2592000}" "${AUDIT_FILE:=}"
: "${K8S_HOST:=}" "${K8S_SERVICE_ACCOUNT:=finx-connector}" "${K8S_NAMESPACE:=finx}" "${K8S_AUDIENCE:=}"
: "${VAULT_AUTH_MOUNT:=$VAULT_AUTH}"

say() { printf 'setup.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
usage() { say "$*"; exit 2; }

[ -n "${VAULT_ADDR:-}" ] || usage 'VAULT_ADDR is not set'
case $VAULT_AUTH in approle | kubernetes) ;; *) usage "VAULT_AUTH is $VAULT_AUTH; it may be approle or kubernetes" ;; esac
if [ -z "${VAULT_TOKEN:-}" ]; then
  [ -n "${VAULT_TOKEN_FILE:-}" ] || usage 'VAULT_TOKEN or VAULT_TOKEN_FILE is not set'
  VAULT_TOKEN=$(cat "$VAULT_TOKEN_FILE")
fi
VAULT_ADDR=${VAULT_ADDR%/}
# They go into JSON, addresses and a sed command as they are.
for name in VAULT_KV_MOUNT VAULT_KV_PREFIX VAULT_TRANSIT_MOUNT VAULT_TRANSIT_KEY VAULT_AUTH_MOUNT ROLE TOKEN_TTL TOKEN_MAX_TTL \
  BOUND_CIDRS SECRET_ID_TTL AUDIT_FILE K8S_HOST K8S_SERVICE_ACCOUNT K8S_NAMESPACE K8S_AUDIENCE; do
  eval "value=\$$name"
  case $value in *[!A-Za-z0-9_./:,@-]* | */ ) usage "$name holds a character that is not allowed" ;; esac
done
for name in VAULT_KV_MOUNT VAULT_KV_PREFIX VAULT_TRANSIT_MOUNT VAULT_TRANSIT_KEY VAULT_AUTH_MOUNT ROLE; do
  eval "value=\$$name"
  case /$value/ in *//* | */./* | */../*) usage "$name is no path" ;; esac
done
for name in VAULT_TRANSIT_KEY ROLE; do
  eval "value=\$$name"
  case $value in */*) usage "$name is one name, without a slash" ;; esac
done
command -v curl >/dev/null || fail 'curl is missing'

umask 077
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
# In a file, because the command line of a process can be read by everybody on the host.
{
  printf 'header = "X-Vault-Token: %s"\n' "$VAULT_TOKEN"
  printf 'header = "X-Vault-Request: true"\n'
  [ -z "${VAULT_NAMESPACE:-}" ] || printf 'header = "X-Vault-Namespace: %s"\n' "$VAULT_NAMESPACE"
  [ -z "${VAULT_CACERT:-}" ] || printf 'cacert = "%s"\n' "$VAULT_CACERT"
  [ -z "${VAULT_CLIENT_CERT:-}" ] || printf 'cert = "%s"\n' "$VAULT_CLIENT_CERT"
  [ -z "${VAULT_CLIENT_KEY:-}" ] || printf 'key = "%s"\n' "$VAULT_CLIENT_KEY"
} >"$tmp/curl"

# call METHOD PATH [JSON]: the answer is in $tmp/answer, its status in $status.
call() {
  set -- "$1" "$2" "${3:-}"
  if [ -n "$3" ]; then
    status=$(printf '%s' "$3" | curl -sS -K "$tmp/curl" --max-time 30 -X "$1" --data-binary @- -o "$tmp/answer" -w '%{http_code}' "$VAULT_ADDR/v1/$2") || fail "$VAULT_ADDR does not answer"
  else
    : >"$tmp/answer"
    status=$(curl -sS -K "$tmp/curl" --max-time 30 -X "$1" -o "$tmp/answer" -w '%{http_code}' "$VAULT_ADDR/v1/$2") || fail "$VAULT_ADDR does not answer"
  fi
}

# must METHOD PATH JSON: the same, and it has to succeed. What was sent may hold a secret and is not shown.
must() {
  call "$@"
  case $status in 2??) ;; *) fail "$1 $2: status $status: $(errors)" ;; esac
}

errors() { tr -d '\n' <"$tmp/answer" | cut -c1-300; }

# holds TEXT…: the last answer has each of them.
holds() {
  for want in "$@"; do
    grep -qF -e "$want" "$tmp/answer" || return 1
  done
}

# there PATH: whether a GET finds something. Only what is missing is missing: a Vault that is sealed or
# a token without rights ends the script.
there() {
  call GET "$1"
  case $status in
  2??) return 0 ;;
  400 | 404) return 1 ;;
  *) fail "GET $1: status $status: $(errors)" ;;
  esac
}

# engine PATH TYPE BODY
engine() {
  if there "sys/mounts/$1"; then
    holds "\"type\":\"$2\"" || fail "$1 is mounted, and not as $2"
    say "ok    engine $1"
  else
    must POST "sys/mounts/$1" "$3"
    say "made  engine $1 ($2)"
  fi
}

# policy NAME FILE: with the paths of this installation in it.
policy() {
  # The prefix before the mount, which may have the same word in it.
  sed -e "s#/finx/#/$VAULT_KV_PREFIX/#" -e "s#\"secret/#\"$VAULT_KV_MOUNT/#" \
    -e "s#\"transit/#\"$VAULT_TRANSIT_MOUNT/#" -e "s#/finx-escrow\"#/$VAULT_TRANSIT_KEY\"#" "$2" |
    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/$/\\n/' | tr -d '\n' >"$tmp/policy"
  rules="\"policy\":\"$(cat "$tmp/policy")\""
  if there "sys/policies/acl/$1" && holds "$rules"; then
    say "ok    policy $1"
  else
    must PUT "sys/policies/acl/$1" "{$rules}"
    say "wrote policy $1"
  fi
}

kv() {
  engine "$VAULT_KV_MOUNT" kv '{"type":"kv","options":{"version":"2"}}'
  there "sys/mounts/$VAULT_KV_MOUNT" && holds '"version":"2"' || fail "$VAULT_KV_MOUNT is a KV engine of version 1; take another path"
  tries=0
  until there "$VAULT_KV_MOUNT/config"; do # a new one takes a moment
    tries=$((tries + 1))
    [ "$tries" -lt 30 ] || fail "$VAULT_KV_MOUNT does not become ready: $(errors)"
    sleep 1
  done
  if holds '"cas_required":true' '"max_versions":1'; then
    say "ok    configuration of $VAULT_KV_MOUNT"
  else
    must POST "$VAULT_KV_MOUNT/config" '{"max_versions":1,"cas_required":true}'
    say "wrote configuration of $VAULT_KV_MOUNT: one version, check-and-set"
  fi
}

transit() {
  engine "$VAULT_TRANSIT_MOUNT" transit '{"type":"transit"}'
  key=$VAULT_TRANSIT_MOUNT/keys/$VAULT_TRANSIT_KEY
  if ! there "$key"; then
    must POST "$key" '{"type":"aes256-gcm96","exportable":false,"allow_plaintext_backup":false}'
    say "made  key $key"
    there "$key" || fail "$key is not there"
  fi
  # Neither can be taken back.
  holds '"exportable":false' '"allow_plaintext_backup":false' || fail "$key can leave Vault; name another in VAULT_TRANSIT_KEY"
  if holds '"deletion_allowed":false'; then
    say "ok    key $key"
  else
    must POST "$key/config" '{"deletion_allowed":false}'
    say "wrote key $key: it cannot be deleted"
  fi
}

# list A,B as "A","B"
list() { printf '%s' "$1" | sed -e 's/[^,][^,]*/"&"/g'; }

# method PATH TYPE
method() {
  if there "sys/auth/$1"; then
    holds "\"type\":\"$2\"" || fail "auth/$1 is mounted, and not as $2"
    say "ok    login auth/$1"
  else
    must POST "sys/auth/$1" "{\"type\":\"$2\"}"
    say "made  login auth/$1"
  fi
}

# role PATH BODY-OF-ITS-OWN LINES…: holds the lines, or is written.
role() {
  path=$1 own=$2
  shift 2
  set -- "$@" "\"token_ttl\":$TOKEN_TTL" "\"token_max_ttl\":$TOKEN_MAX_TTL" "\"token_policies\":[\"$ROLE\"]" "\"token_bound_cidrs\":[$(list "$BOUND_CIDRS")]"
  if there "$path" && holds "$@"; then
    say "ok    role $path"
    return
  fi
  must POST "$path" "{$own,\"token_type\":\"service\",\"token_policies\":[\"$ROLE\"],\"token_ttl\":$TOKEN_TTL,\"token_max_ttl\":$TOKEN_MAX_TTL,\"token_bound_cidrs\":[$(list "$BOUND_CIDRS")]}"
  say "wrote role $path"
}

approle() {
  method "$VAULT_AUTH_MOUNT" approle
  path=auth/$VAULT_AUTH_MOUNT/role/$ROLE
  cidrs="\"secret_id_bound_cidrs\":[$(list "$BOUND_CIDRS")]"
  # As often as needed: the connector logs in again with the same one whenever its token has come to its end.
  role "$path" "\"bind_secret_id\":true,\"secret_id_num_uses\":0,\"secret_id_ttl\":$SECRET_ID_TTL,$cidrs" \
    '"bind_secret_id":true' '"secret_id_num_uses":0' "\"secret_id_ttl\":$SECRET_ID_TTL" "$cidrs"
  must GET "$path/role-id"
  role_id=$(sed -n 's/.*"role_id":"\([^"]*\)".*/\1/p' "$tmp/answer")
  [ -n "$role_id" ] || fail "$path has no role id"
  if [ -z "$SECRET_ID_FILE" ]; then
    say "left  secret id: SECRET_ID_FILE is not set; make one with a POST to $path/secret-id"
  elif [ -s "$SECRET_ID_FILE" ]; then
    say "ok    secret id in $SECRET_ID_FILE"
  else
    # Beside it and then in its place: one that was there may be readable by more than its owner, and a
    # directory that cannot be written to shows before there is a secret id.
    rm -f "$SECRET_ID_FILE.new"
    printf '' >"$SECRET_ID_FILE.new" || fail "$SECRET_ID_FILE cannot be written"
    must POST "$path/secret-id" '{}'
    secret_id=$(sed -n 's/.*"secret_id":"\([^"]*\)".*/\1/p' "$tmp/answer")
    [ -n "$secret_id" ] || fail "$path gave no secret id"
    printf '%s' "$secret_id" >"$SECRET_ID_FILE.new"
    mv -f "$SECRET_ID_FILE.new" "$SECRET_ID_FILE"
    say "made  secret id in $SECRET_ID_FILE"
  fi
}

kubernetes() {
  method "$VAULT_AUTH_MOUNT" kubernetes
  if [ -n "$K8S_HOST" ]; then
    if there "auth/$VAULT_AUTH_MOUNT/config" && holds "\"kubernetes_host\":\"$K8S_HOST\""; then
      say "ok    configuration of auth/$VAULT_AUTH_MOUNT"
    else
      must POST "auth/$VAULT_AUTH_MOUNT/config" "{\"kubernetes_host\":\"$K8S_HOST\"}"
      say "wrote configuration of auth/$VAULT_AUTH_MOUNT"
    fi
  fi
  own="\"bound_service_account_names\":[\"$K8S_SERVICE_ACCOUNT\"],\"bound_service_account_namespaces\":[\"$K8S_NAMESPACE\"]"
  body=$own
  [ -z "$K8S_AUDIENCE" ] || body="$own,\"audience\":\"$K8S_AUDIENCE\""
  role "auth/$VAULT_AUTH_MOUNT/role/$ROLE" "$body" "\"bound_service_account_names\":[\"$K8S_SERVICE_ACCOUNT\"]" "\"bound_service_account_namespaces\":[\"$K8S_NAMESPACE\"]" \
    ${K8S_AUDIENCE:+"\"audience\":\"$K8S_AUDIENCE\""}
}

audit() {
  must GET sys/audit
  if holds '"type":'; then
    say 'ok    audit device'
  elif [ -n "$AUDIT_FILE" ]; then
    must PUT sys/audit/file "{\"type\":\"file\",\"options\":{\"file_path\":\"$AUDIT_FILE\"}}"
    say "made  audit device, to $AUDIT_FILE"
  else
    say 'left  audit device: there is none; set AUDIT_FILE, or nobody will know who read a token'
  fi
}

kv
transit
policy "$ROLE" "$here/finx-connector.hcl"
policy "$ROLE-operator" "$here/finx-operator.hcl"
"$VAULT_AUTH"
audit

printf 'VAULT_ADDR=%s\nVAULT_KV_MOUNT=%s\nVAULT_KV_PREFIX=%s\nVAULT_TRANSIT_MOUNT=%s\nVAULT_TRANSIT_KEY=%s\nVAULT_AUTH=%s\nVAULT_AUTH_MOUNT=%s\n' \
  "$VAULT_ADDR" "$VAULT_KV_MOUNT" "$VAULT_KV_PREFIX" "$VAULT_TRANSIT_MOUNT" "$VAULT_TRANSIT_KEY" "$VAULT_AUTH" "$VAULT_AUTH_MOUNT"
case $VAULT_AUTH in
approle)
  printf 'VAULT_ROLE_ID=%s\n' "$role_id"
  [ -z "$SECRET_ID_FILE" ] || printf 'VAULT_SECRET_ID_FILE=%s\n' "$SECRET_ID_FILE"
  ;;
kubernetes) printf 'VAULT_K8S_ROLE=%s\n' "$ROLE" ;;
esac
