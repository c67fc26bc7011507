package events

import (
	"strings"
	"time"
)

// Message is a stored message, whatever broker it came from.
type Message struct {
	Subject  string
	Header   map[string][]string
	Data     []byte
	Stream   string
	Sequence uint64    // within Stream, from 1
	Time     time.Time // when it was stored
}

// header returns the first value of a header, whatever the case of its name.
// An exact match wins, so that the usual case costs one map look-up.
func (m Message) header(name string) (string, bool) {
	if v, ok := m.Header[name]; ok && len(v) > 0 {
		return v[0], true
	}
	for k, v := range m.Header {
		if len(v) > 0 && strings.EqualFold(k, name) {
			return v[0], true
		}
	}
	return "", false
}

// mediaType returns the media type of the message in lower case without its
// parameters, "" when there is none.
func (m Message) mediaType() string {
	v, _ := m.header(HeaderContentType)
	v, _, _ = strings.Cut(v, ";")
	return strings.ToLower(strings.TrimSpace(v))
}
