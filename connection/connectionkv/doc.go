// Package connectionkv keeps the records of connections, the bindings of their
// state parameters and the leases of their workers in NATS JetStream KV.
//
//	finx_connections  connection.<connection id>    a connection.Record
//	                  state.<sha256 hex of state>   a connection.StateBinding
//	finx_leases       <name>                        the holder, with a TTL
//	finx_escrow       <connection id>.<sha256 hex>  a sealed answer, see Escrow
//	finx_control      breaker.…, replica.…, …       what replicas share, see Control
//
// Every write is a compare-and-set on the revision that was read, but in escrow,
// where the last one wins, and where a replica says that it is there. Reads of a
// key are answered by the leader of the bucket: a follower that lags would make a
// callback's state look unknown, which ends in a dead letter.
//
// The buckets are made by `streams apply`; New needs no connection, and until
// the buckets are there each call answers with the verdict Retry.
package connectionkv
