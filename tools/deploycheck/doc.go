// Package deploycheck holds the tests of what is under deploy/ and needs parsers
// of its own: the Dockerfile, the compose file and the Helm chart. It is a module
// of its own, so that none of those parsers is near the product. No container
// engine, cluster or network is needed. Broker and Vault rights, alerts and
// dashboards have their tests elsewhere.
package deploycheck
