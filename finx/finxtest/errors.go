package finxtest

import (
	"encoding/json"
	"net/http"
)

// finX's own error codes, as far as the sandbox answers with them.
const (
	codeInvalidRequest = 1000
	codeNotFound       = 1002
	codeUnauthorized   = 1003
	codeInvalidClient  = 1004
	codeUnprocessable  = 1006
	codeForbidden      = 1007
	codeBusy           = 1008
)

// fieldProblems is the data member of an error: what is wrong with each field.
type fieldProblems map[string][]string

func (p fieldProblems) add(field, problem string) { p[field] = append(p[field], problem) }

// writeError answers in finX's error shape.
func writeError(w http.ResponseWriter, status, code int, description string, data fieldProblems) {
	if data == nil {
		data = fieldProblems{}
	}
	writeJSON(w, status, map[string]any{"error": map[string]any{
		"code": code, "data": data, "description": description, "group": groupOf(code),
	}})
}

// writeInvalid answers code 1000 and names the fields.
func writeInvalid(w http.ResponseWriter, p fieldProblems) {
	writeError(w, http.StatusBadRequest, codeInvalidRequest, "Request body doesn't match input schema.", p)
}

// groupOf follows the documented code ranges.
func groupOf(code int) string {
	switch {
	case code >= 1000 && code < 2000:
		return "client"
	case code >= 10000 && code < 20000:
		return "user"
	case code >= 20000 && code < 30000:
		return "bank"
	case code >= 30000 && code < 40000:
		return "general"
	case code >= 40000 && code < 50000:
		return "connectivity"
	case code >= 50000 && code < 60000:
		return "categorization"
	}
	return "unknown"
}

// writeJSON answers v. Errors of the connection are the client's to see.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
