package events

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// callbackQuery reads the parameters out of a callback_url. Scheme, host and
// path are not looked at, and neither is a fragment. Of the parameters that
// count each may come once; others are skipped.
func callbackQuery(raw string) (callbackValues, *FieldError) {
	const field = "callback_url"
	raw, _, _ = strings.Cut(raw, "#")
	_, query, ok := strings.Cut(raw, "?")
	if !ok {
		return callbackValues{}, problem(field, "has no query")
	}
	seen := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil || !isCallbackParameter(name) {
			continue
		}
		if _, twice := seen[name]; twice {
			return callbackValues{}, problem(field, "%s is given twice", name)
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil || !utf8.ValidString(value) {
			return callbackValues{}, problem(field, "%s is not percent-encoded UTF-8", name)
		}
		if fe := checkText(name, value, parameterLimit(name)); fe != nil {
			return callbackValues{}, problem(field, "%s: %s", name, fe.Problem)
		}
		seen[name] = value
	}
	return queryValues(seen)
}

func queryValues(seen map[string]string) (callbackValues, *FieldError) {
	v := callbackValues{state: seen["state"], code: seen["code"], flowID: seen["flow_id"]}
	switch seen["success"] {
	case "":
	case "true", "false":
		yes := seen["success"] == "true"
		v.success = &yes
	default:
		return v, problem("callback_url", "success must be true or false")
	}
	for _, name := range [...]string{"cancel", "abort"} {
		if value, ok := seen[name]; ok {
			v.cancelled = max(v.cancelled, answerOf(value))
		}
	}
	return v, nil
}

// merge joins members and query. A value given in both places must be the
// same: whichever were believed, the other would be the attacker's way in.
func (v callbackValues) merge(q callbackValues) (callbackValues, *FieldError) {
	const differs = "does not agree with callback_url"
	for _, pair := range [...]struct {
		name string
		own  *string
		url  string
	}{{"state", &v.state, q.state}, {"code", &v.code, q.code}, {"flow_id", &v.flowID, q.flowID}} {
		if *pair.own != "" && pair.url != "" && *pair.own != pair.url {
			return v, problem(pair.name, differs)
		}
		if *pair.own == "" {
			*pair.own = pair.url
		}
	}
	switch {
	case v.success == nil:
		v.success = q.success
	case q.success != nil && *v.success != *q.success:
		return v, problem("success", differs)
	}
	own, url := v.cancelled.settled(v.success), q.cancelled.settled(v.success)
	if own != unsaid && url != unsaid && own != url {
		return v, problem("cancel", differs)
	}
	v.cancelled = max(own, url)
	return v, nil
}

func isCallbackParameter(name string) bool { return parameterLimit(name) > 0 }

func parameterLimit(name string) int {
	switch name {
	case "state":
		return MaxState
	case "code":
		return MaxCode
	case "flow_id":
		return MaxFlowID
	case "success", "cancel", "abort":
		return maxCancel
	}
	return 0
}
