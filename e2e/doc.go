// Package e2e plays the whole job on real parts: NATS servers, Vault's own core,
// the finX sandbox over HTTP, and the connector, either inside the test or as
// the program that is shipped, with its environment, its signals and its
// output. There is nothing here but tests.
//
// A test that needs minutes runs with FINX_TEST_LONG=1 only (make test-long).
package e2e
