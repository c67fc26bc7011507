// Package promcheck holds tests of what Prometheus and Grafana are given: the rules
// in deploy/prometheus and the dashboards in deploy/grafana.
//
// Rules are parsed and linted as promtool does, every metric and label value in them
// must be one that a running connector has (deploy/prometheus/metrics.json, which a
// test of the product keeps true), and every alert is seen to fire at the minute it
// should and to be silent when it should (testdata/alerts.yaml).
package promcheck
