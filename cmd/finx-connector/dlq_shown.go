package main

import (
	"regexp"
	"strings"

	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/events"
)

const (
	redactedText = "[redacted]"
	hiddenText   = "[hidden, --body prints it]"
)

// What somebody may have sent who should not have: a member or parameter whose name
// says that it is a secret, a credential of HTTP, and a JWT, wherever it stands.
var (
	namedSecret = regexp.MustCompile(`(?i)([\w-]*(?:token|secret|passw(?:or)?d|authorization|api[_-]?key)\\?["']?\s*[:=]\s*)(\\"[^"]*"|"(?:[^"\\]|\\.)*"|'[^']*'|[^\s&,;}\]"']+)`)
	credential  = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[\w.~+/=-]+`)
	jwt         = regexp.MustCompile(`\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?`)
)

// withoutSecrets takes out what looks like a secret. It is the last of several
// guards: codes go before, by what the message itself says of them.
func withoutSecrets(s string) string {
	s = credential.ReplaceAllString(s, "$1 "+redactedText)
	s = namedSecret.ReplaceAllStringFunc(s, func(found string) string {
		m := namedSecret.FindStringSubmatch(found)
		if open, _, quoted := strings.Cut(m[2], `"`); quoted {
			return m[1] + open + `"` + redactedText + open + `"`
		}
		return m[1] + redactedText
	})
	return jwt.ReplaceAllString(s, redactedText)
}

// detailsOfLetter is what may be shown of a dead letter. Codes are taken out
// whatever was published on whatever subject; what may be personal data, which is the
// body and every header that no protocol defines, is shown with body only.
func detailsOfLetter(l dlq.Letter, body bool) letterDetails {
	view := viewLetter(l)
	clean, texts := events.RedactCallback(events.Message{Subject: l.Original.Subject, Header: l.Header, Data: l.Data}, l.Original.MsgID)
	d := letterDetails{
		letterView: view, MsgID: withoutSecrets(texts[0]), Bytes: len(l.Data), Withheld: l.Withheld(), Headers: map[string][]string{},
	}
	if !l.Original.Stored.IsZero() {
		at := l.Original.Stored.UTC()
		d.Stored = &at
	}
	for name, values := range clean.Header {
		for _, v := range values {
			switch {
			case isSecretName(name):
				v = redactedText
			case body || isProtocol(name):
				v = withoutSecrets(v)
			default:
				v = hiddenText
			}
			d.Headers[name] = append(d.Headers[name], v)
		}
	}
	if body {
		text := withoutSecrets(strings.ToValidUTF8(string(clean.Data), "\ufffd"))
		d.Body = &text
	}
	return d
}

func isSecretName(name string) bool { return namedSecret.MatchString(name + "=x") }

// isProtocol reports whether a header is one of CloudEvents or of tracing, and not
// about somebody.
func isProtocol(name string) bool {
	switch name = strings.ToLower(name); name {
	case "content-type", "traceparent", "ce-id", "ce-source", "ce-type", "ce-specversion", "ce-time", "ce-dataschema",
		"ce-datacontenttype", "ce-causationid", "ce-replayid":
		return true
	}
	return false
}
