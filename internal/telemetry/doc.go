// Package telemetry makes the traces. It is the only home of OpenTelemetry.
//
// Rooms are given a context and nothing else: Start makes a span below the one in
// it, and makes nothing at all when there is none that is recorded, which is always
// so while tracing is off. Only whoever takes in an event (consumer) holds a Tracer,
// because only there traces begin or go on from upstream's. No global of
// OpenTelemetry is set or read.
//
// What a trace costs is bounded: spans of one delivery by their names (see spansOfName),
// spans that wait to be sent by a queue that drops, and an endpoint that does not
// answer delays nobody.
//
// Nothing in a span may be a secret or a payload: rooms set names, counts, ids that
// they would log, and errors whose texts are made for logs.
package telemetry
