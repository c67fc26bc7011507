package telemetry

// The attributes, by OpenTelemetry's semantic conventions (1.37) where they have a
// name for it, else below finx_connector.
const (
	KeyErrorType = "error.type"

	KeyMethod      = "http.request.method"
	KeyStatus      = "http.response.status_code"
	KeyURLTemplate = "url.template"
	KeyServer      = "server.address"
	KeyPort        = "server.port"

	KeyMessaging     = "messaging.system"
	KeyOperation     = "messaging.operation.name"
	KeyOperationType = "messaging.operation.type"
	KeyDestination   = "messaging.destination.name"
	KeyMessageID     = "messaging.message.id"
	KeyBodySize      = "messaging.message.body.size"
	KeyConsumerGroup = "messaging.consumer.group.name"
	KeyStream        = "messaging.nats.stream"
	KeySequence      = "messaging.nats.stream.sequence"
	KeyDelivered     = "messaging.nats.delivered"

	KeyConnection   = "finx_connector.connection_id"
	KeyFetch        = "finx_connector.fetch_id"
	KeyAttempt      = "finx_connector.attempt"
	KeyOutcome      = "finx_connector.outcome"
	KeyDelay        = "finx_connector.delay_ms"
	KeyDLQReason    = "finx_connector.dlq_reason"
	KeyReplay       = "finx_connector.replayed"
	KeyRequestID    = "finx_connector.request_id"
	KeyDuplicate    = "finx_connector.duplicate"
	KeyJoined       = "finx_connector.joined"
	KeyStepsLeftOut = "finx_connector.steps_left_out"
)

// Messaging is the value of KeyMessaging.
const Messaging = "nats"
