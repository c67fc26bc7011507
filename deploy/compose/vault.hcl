# One node without TLS on a private network. Production: three or five nodes, TLS, unsealed by a key service.
storage "raft" {
  path    = "/vault/file"
  node_id = "compose"
}
listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}
api_addr      = "http://vault:8200"
cluster_addr  = "http://vault:8201"
disable_mlock = true
ui            = false
