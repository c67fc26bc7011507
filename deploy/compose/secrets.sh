#!/bin/sh
# Makes the secrets of compose.yaml, once: what is there stays as it is. To have new ones, remove the directory and the
# volumes (docker compose down --volumes).
#
# Compose mounts a file as it is, whoever owns it, and the programs run as users of their own: so the files can be
# read by everybody who can reach them, and the directory lets in its owner only.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets

# random FILE: 32 random bytes in hex
random() {
  [ -s "secrets/$1" ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"secrets/$1"
}
random finx-client-secret
random grafana-admin-password

if [ ! -s secrets/nats.env ]; then
  if ! command -v nk >/dev/null && ! command -v go >/dev/null; then
    : "${NK:=docker run --rm -i ${NATS_BOX_IMAGE:-natsio/nats-box:0.18.0} nk}"
    export NK
  fi
  ../nats/keys.sh secrets >secrets/nats.env.new
  mv secrets/nats.env.new secrets/nats.env
fi

chmod 700 secrets # it may have been there
chmod 644 secrets/*
echo "secrets are in $PWD/secrets"
