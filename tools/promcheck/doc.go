// Package promcheck draws the dashboards in deploy/grafana and holds tests of what
// Prometheus and Grafana are given.
//
// Rules (deploy/prometheus) are parsed and linted as promtool does, every metric and
// label value in rules and dashboards must be one that a running connector has
// (deploy/prometheus/metrics.json, which a test of the product keeps true), and every
// alert is seen to fire at the minute it should and to be silent when it should
// (testdata/alerts.yaml).
package promcheck
