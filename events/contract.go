package events

// The event types, which are also the base names of their subjects. A subject
// may carry a prefix before and further tokens behind (see Codec).
const (
	TypeConnectRequested = "user.connect.requested"
	TypeCallbackReceived = "callback.received"
	TypeSyncRequested    = "transactions.sync.requested"
	TypeErasureRequested = "user.erasure.requested"

	TypeWidgetLinkCreated       = "widget.link.created"
	TypeConnectionEstablished   = "connection.established"
	TypeConnectionFailed        = "connection.failed"
	TypeConnectionExpiring      = "connection.expiring"
	TypeReauthorizationRequired = "connection.reauthorization.required"
	TypeConnectionErased        = "connection.erased"
	TypeTransactionsFetched     = "transactions.fetched"
	TypeFetchCompleted          = "transactions.fetch.completed"
	TypeFetchFailed             = "transactions.fetch.failed"
	TypeReplayCompleted         = "replay.completed" // of an operator's replay; belongs to no connection
)

// TypeKeepAliveDue is internal: a timer's message to the connector itself, and no
// type that others may send or need to know.
const TypeKeepAliveDue = SubjectDueKeepAlive

// Subjects that are no event types of their own. A message on a timer subject
// waits in the timers stream; the broker moves it to the due subject in time.
const (
	SubjectTimer          = "finx.timer"
	SubjectDue            = "finx.due"
	SubjectTimerSync      = SubjectTimer + ".sync"      // + "." + connection id
	SubjectDueSync        = SubjectDue + ".sync"        // + "." + connection id
	SubjectTimerKeepAlive = SubjectTimer + ".keepalive" // + "." + connection id
	SubjectDueKeepAlive   = SubjectDue + ".keepalive"   // + "." + connection id
	SubjectTimerPark      = SubjectTimer + ".park"      // + "." + stream + "." + sequence
	SubjectDuePark        = SubjectDue + ".park"        // + "." + stream + "." + sequence
	SubjectDLQ            = "dlq"                       // + "." + original subject
)

// Default names of the streams.
const (
	StreamRequests  = "FINX_REQUESTS"
	StreamCallbacks = "FINX_CALLBACKS"
	StreamEvents    = "FINX_EVENTS"
	StreamTimers    = "FINX_TIMERS"
	StreamDLQ       = "FINX_DLQ"
)

// ObjectsOversize is the object store for single transactions that fit into no part.
const ObjectsOversize = "finx_oversize"

// Header names. NATS headers are case-sensitive on the wire; this package
// writes them as given here and reads them in any case.
const (
	HeaderMsgID        = "Nats-Msg-Id"
	HeaderContentType  = "Content-Type"
	HeaderTraceParent  = "traceparent"
	HeaderTraceState   = "tracestate"
	HeaderConnectionID = "Finx-Connection-Id" // on outputs: erasure and replay find them by it
)

// Content types and the constants of every outgoing event.
const (
	ContentTypeStructured = "application/cloudevents+json"
	ContentTypeJSON       = "application/json"
	SpecVersion           = "1.0"
	Source                = "/finx-connector"
)

// InputTypes returns the types others may send to the connector.
func InputTypes() []string {
	return []string{TypeConnectRequested, TypeCallbackReceived, TypeSyncRequested, TypeErasureRequested}
}

// OutputTypes returns the types the connector publishes for downstream.
func OutputTypes() []string {
	return []string{
		TypeWidgetLinkCreated, TypeConnectionEstablished, TypeConnectionFailed, TypeConnectionExpiring,
		TypeReauthorizationRequired, TypeConnectionErased, TypeTransactionsFetched, TypeFetchCompleted, TypeFetchFailed,
		TypeReplayCompleted,
	}
}

// IsInput reports whether typ is an input type.
func IsInput(typ string) bool {
	switch typ {
	case TypeConnectRequested, TypeCallbackReceived, TypeSyncRequested, TypeErasureRequested:
		return true
	}
	return false
}

// IsHandled reports whether the connector has a handler for typ: an input, or a
// message of its own timers.
func IsHandled(typ string) bool { return IsInput(typ) || typ == TypeKeepAliveDue }

// IsOutput reports whether typ is an output type.
func IsOutput(typ string) bool {
	switch typ {
	case TypeWidgetLinkCreated, TypeConnectionEstablished, TypeConnectionFailed, TypeConnectionExpiring,
		TypeReauthorizationRequired, TypeConnectionErased, TypeTransactionsFetched, TypeFetchCompleted, TypeFetchFailed,
		TypeReplayCompleted:
		return true
	}
	return false
}

// HasConnection reports whether the events of an output type belong to a
// connection each: they carry its id, and their subjects may end with it.
func HasConnection(typ string) bool { return IsOutput(typ) && typ != TypeReplayCompleted }

// StreamOf returns the default stream of a type, "" for an unknown one.
// Callbacks have a stream of their own because their codes die within minutes.
func StreamOf(typ string) string {
	switch {
	case typ == TypeCallbackReceived:
		return StreamCallbacks
	case typ == TypeKeepAliveDue:
		return StreamTimers
	case IsInput(typ):
		return StreamRequests
	case IsOutput(typ):
		return StreamEvents
	}
	return ""
}
