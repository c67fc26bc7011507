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

# fresh FILE: whether it has to be made
fresh() { [ ! -s "secrets/$1" ]; }
# random FILE: 32 random bytes in hex
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"secrets/$1"; }

fresh finx-client-secret && random finx-client-secret
fresh grafana-admin-password && random grafana-admin-password
fresh nats.env && ../nats/keys.sh secrets >secrets/nats.env

chmod 644 secrets/*
echo "secrets are in $PWD/secrets"
