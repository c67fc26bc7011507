package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/internal/secret"
)

const canary = "canary-4711-do-not-print"

func TestNoPrinterShowsTheValue(t *testing.T) {
	text := secret.New(canary)
	inside := struct {
		Token   secret.Text
		Pointer *secret.Text
		List    []secret.Text
		Map     map[string]secret.Text
	}{text, &text, []secret.Text{text}, map[string]secret.Text{"k": text}}

	var out []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10s", "%-5v"} {
		out = append(out, fmt.Sprintf(verb, text), fmt.Sprintf(verb, inside), fmt.Sprintf(verb, &inside))
	}
	for _, v := range []any{text, inside, map[string]any{"a": inside}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("event", "secret", text, "inside", inside, "group", slog.GroupValue(slog.Any("x", text)))
	}
	out = append(out, log.String(), fmt.Errorf("calling: %v", text).Error(), errors.New(text.String()).Error())
	for _, s := range out {
		if strings.Contains(s, canary) || strings.Contains(s, fmt.Sprintf("%x", canary)) {
			t.Errorf("the value shows in %q", s)
		}
	}
	if !strings.Contains(out[0], "[redacted]") {
		t.Errorf("a present secret prints as %q", out[0])
	}
}

func TestText(t *testing.T) {
	text := secret.New(canary)
	if text.Reveal() != canary || text.Len() != len(canary) || text.IsZero() {
		t.Error("the value is not kept")
	}
	if text != secret.New(canary) || text == secret.New("other") {
		t.Error("equality is not that of the values")
	}
	var absent secret.Text
	if !absent.IsZero() || absent.String() != "" {
		t.Error("the zero value is not the absent secret")
	}
	// printf '%s' abc | sha256sum
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got := secret.New("abc").SHA256(); got != abc {
		t.Errorf("SHA256 = %s, want %s", got, abc)
	}
	if err := json.Unmarshal([]byte(`"`+canary+`"`), &absent); err != nil || absent.Reveal() != canary {
		t.Errorf("a decoder cannot fill it: %v", err)
	}
}
