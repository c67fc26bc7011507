# What somebody who runs finx-connector may see in Vault: which connections have a secret, how many versions
# and since when, and how mount and key are set up. No token, and nothing may be written.

path "secret/metadata/finx/*" {
  capabilities = ["read", "list"]
}
path "secret/config" {
  capabilities = ["read"]
}
path "transit/keys/finx-escrow" {
  capabilities = ["read"]
}
