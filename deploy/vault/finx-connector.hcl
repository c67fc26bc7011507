# What finx-connector may do in Vault: its own secrets below one prefix, data keys of one transit
# key, and nothing else.
# Replace secret and finx when VAULT_KV_MOUNT or VAULT_KV_PREFIX say otherwise.

# The tokens of each connection, always written with check-and-set.
path "secret/data/finx/*" {
  capabilities = ["create", "read", "update"]
}

# How many versions a secret keeps; list to look through them, delete to erase one.
path "secret/metadata/finx/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

# Superseded tokens are destroyed, where the mount keeps more than one version.
path "secret/destroy/finx/*" {
  capabilities = ["create", "update"]
}

# How many versions the mount keeps.
path "secret/config" {
  capabilities = ["read"]
}

# A data key to seal an answer of finX with that Vault does not take in time, and to open it
# again. Without these two rules, or without the engine, the connector works and says that it cannot
# seal. Replace transit and finx-escrow when VAULT_TRANSIT_MOUNT or VAULT_TRANSIT_KEY say otherwise.
path "transit/datakey/plaintext/finx-escrow" {
  capabilities = ["update"]
}
path "transit/decrypt/finx-escrow" {
  capabilities = ["update"]
}
