#!/bin/sh
# Makes an nkey pair for each user of accounts.conf and prints the public halves as the broker's environment.
#
#   ./keys.sh DIRECTORY >nats.env
#
# The seeds go to DIRECTORY/<role>.nk, one file for whoever has that role (NATS_NKEY_SEED_FILE); one that is
# there is kept. It needs the program nk (go install github.com/nats-io/nkeys/nk@v0.4.17), or go, or another
# way to run it: NK='docker run --rm -i natsio/nats-box nk' ./keys.sh DIRECTORY.
set -eu
[ $# -eq 1 ] || { echo 'usage: keys.sh DIRECTORY' >&2; exit 2; }
if [ -z "${NK:-}" ]; then
  if command -v nk >/dev/null; then
    NK=nk
  elif command -v go >/dev/null; then
    NK='go run github.com/nats-io/nkeys/nk@v0.4.17'
  else
    echo "keys.sh: neither nk nor go is here; with an engine: NK='docker run --rm -i natsio/nats-box nk' $0 $1" >&2
    exit 1
  fi
fi
umask 077
mkdir -p "$1"
for role in system provisioner connector upstream downstream operator; do
  file=$1/$role.nk
  if [ ! -s "$file" ]; then
    $NK -gen user >"$file.new"
    mv "$file.new" "$file"
  fi
  public=$($NK -inkey /dev/stdin -pubout <"$file")
  printf 'NATS_NKEY_%s=%s\n' "$(printf %s "$role" | tr '[:lower:]' '[:upper:]')" "$public"
done
