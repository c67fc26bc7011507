package events

import "strings"

// addTrace settles the attributes that may come from either place. The trace
// headers win over the attributes of the same name: they are the last hop's,
// the attributes may be as old as the event. A trace that is not well-formed is
// dropped, as W3C Trace Context demands, and never a reason to refuse an event.
// A replay may mark an event it publishes unchanged by headers alone.
func addTrace(e *Envelope, m Message) *FieldError {
	if v, ok := m.header(HeaderTraceParent); ok && isTraceParent(v) {
		e.TraceParent = v
		e.TraceState, _ = m.header(HeaderTraceState)
	}
	if !isTraceParent(e.TraceParent) {
		e.TraceParent, e.TraceState = "", ""
	}
	if !isTraceState(e.TraceState) {
		e.TraceState = ""
	}
	for _, a := range [...]struct {
		name  string
		value *string
	}{{"ce-causationid", &e.CausationID}, {"ce-replayid", &e.ReplayID}} {
		if v, ok := m.header(a.name); ok && *a.value == "" {
			if fe := checkText(a.name, v, MaxID); fe != nil {
				return fe
			}
			*a.value = v
		}
	}
	return nil
}

// isTraceParent reports whether s is version-traceid-parentid-flags in lower
// case hex with neither id all zero (W3C Trace Context, section 3.2). Later
// versions may have more behind the flags.
func isTraceParent(s string) bool {
	if len(s) < 55 || len(s) > 512 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, trace, parent, flags, rest := s[:2], s[3:35], s[36:52], s[53:55], s[55:]
	if !isHex(version) || !isHex(trace) || !isHex(parent) || !isHex(flags) || version == "ff" {
		return false
	}
	if strings.Trim(trace, "0") == "" || strings.Trim(parent, "0") == "" {
		return false
	}
	return rest == "" || (version != "00" && rest[0] == '-' && isVisibleASCII(rest))
}

func isTraceState(s string) bool { return len(s) <= 1024 && isVisibleASCII(s) }

func isHex(s string) bool {
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

func isVisibleASCII(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
