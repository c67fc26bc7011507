package streams

import (
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const clusterReplicas = 3

// replicas is how many copies there are to be.
type replicas struct {
	n int
	// certain means an existing thing with fewer copies is raised to n. When the
	// cluster's size is a guess, what exists stands.
	certain bool
	// orOne means that one copy will do where the broker cannot place n.
	orOne bool
}

// wantReplicas decides the number of copies. An account is not told how large
// the cluster is, so without the setting it is read off the servers the client
// has heard of; where the broker advertises none of them (a load balancer), the
// attempt to create with three decides.
func (t Topology) wantReplicas(nc *nats.Conn) replicas {
	switch {
	case t.cfg.Replicas > 0:
		return replicas{n: t.cfg.Replicas, certain: true}
	case !nc.IsConnected(): // then the cluster's name is empty for another reason
		return replicas{n: clusterReplicas, orOne: true}
	case nc.ConnectedClusterName() == "":
		return replicas{n: 1, certain: true}
	case serversKnown(nc.Servers()) >= clusterReplicas:
		return replicas{n: clusterReplicas, certain: true, orOne: true}
	}
	return replicas{n: clusterReplicas, orOne: true}
}

// serversKnown counts servers in a list that may hold one server twice: as the
// operator wrote it (a host name) and as it advertises itself (an address).
func serversKnown(urls []string) int {
	addresses, hosts := map[string]bool{}, map[string]bool{}
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil {
			continue
		}
		host := strings.Replace(u.Host, "localhost", "127.0.0.1", 1)
		if net.ParseIP(strings.Split(u.Hostname(), "%")[0]) != nil || host != u.Host {
			addresses[host] = true
		} else {
			hosts[host] = true
		}
	}
	return max(len(addresses), len(hosts))
}

// Error codes of the broker that the client has no names for.
const (
	codeNoPeers              jetstream.ErrorCode = 10005 // no suitable peers for placement
	codeReplicasNotSupported jetstream.ErrorCode = 10074 // replicas > 1 not supported in non-clustered mode
)

// tooFewServers reports whether err says that the cluster is too small for the
// copies asked for. A peer that is merely offline is not a smaller cluster:
// falling back to one copy because of an outage would outlast the outage.
func tooFewServers(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return false
	}
	switch api.ErrorCode {
	case codeReplicasNotSupported:
		return true
	case codeNoPeers:
		return !strings.Contains(api.Description, "offline") && !strings.Contains(api.Description, "storage")
	}
	return false
}
