package events

// ConnectionErased says that nothing of a connection is left, and how much
// there was.
type ConnectionErased struct {
	ConnectionID string `json:"connection_id"`
	UserID       string `json:"user_id"`
	Erased       Erased `json:"erased"`
}

// Erased counts what was erased, per store.
type Erased struct {
	VaultVersions  int `json:"vault_versions"`
	KVKeys         int `json:"kv_keys"`
	StreamMessages int `json:"stream_messages"`
	DLQMessages    int `json:"dlq_messages"`
	Timers         int `json:"timers"`
}

// NewConnectionErased makes the event; one a request and connection. The
// counts do not make another event of it: erasing a second time finds nothing.
func NewConnectionErased(c Cause, d ConnectionErased) Output {
	w := openOutputData(nil, d.ConnectionID, d.UserID)
	w.name("erased")
	counts := openObject(w.b)
	counts.number("vault_versions", d.Erased.VaultVersions)
	counts.number("kv_keys", d.Erased.KVKeys)
	counts.number("stream_messages", d.Erased.StreamMessages)
	counts.number("dlq_messages", d.Erased.DLQMessages)
	counts.number("timers", d.Erased.Timers)
	w.b = counts.close()
	return newOutput(TypeConnectionErased, c, d.ConnectionID, w.close(), c.ID, d.ConnectionID)
}
