# For the one case in which a human must see a connection's tokens, such as to revoke them at finX by hand.
# Nobody has this policy: whoever may create tokens makes one that ends by itself,
#
#   vault token create -policy=finx-break-glass -ttl=15m -use-limit=3 -no-default-policy -display-name="$USER, ticket 4711"
#
# and the audit device keeps who read what. Reading changes nothing: the connector goes on.

path "secret/data/finx/connections/*" {
  capabilities = ["read"]
}
