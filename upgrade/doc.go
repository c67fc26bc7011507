// Package upgrade proves that today's code goes on with what earlier releases have
// stored. It is tests only.
//
// testdata has a directory for each release with a record of every kind as that
// release's own binary wrote it, against real servers: buckets, streams, secrets and
// sealed answers, schemas and events. A directory is never changed once its release
// is out. CONTRIBUTING.md says how the next one is recorded, docs/upgrading.md what
// the tests hold the code to.
package upgrade
