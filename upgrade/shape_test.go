package upgrade_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
)

// shape is what an older program relies on in a record: its version, and of what kind
// each member is.
type shape map[string]string

func shapeOf(raw []byte) shape {
	var all map[string]json.RawMessage
	if json.Unmarshal(raw, &all) != nil {
		return nil
	}
	s := shape{}
	for name, value := range all {
		switch value[0] {
		case '{':
			s[name] = "object"
		case '[':
			s[name] = "array"
		case '"':
			s[name] = "string"
		case 't', 'f':
			s[name] = "bool"
		default:
			s[name] = "number"
		}
	}
	if v, ok := all["v"]; ok {
		s["v"] = "number " + string(v)
	}
	return s
}

// shapes are those of the records of a release, by where they are.
func (w *world) shapes(f *fixture) map[string]shape {
	w.Helper()
	all := map[string]shape{}
	for _, e := range f.kv {
		if s := shapeOf(e.Value); s != nil && e.Bucket == connectionkv.BucketConnections {
			all[e.Bucket+" "+e.Key] = s
		}
	}
	for _, s := range f.secrets {
		all["secret "+s.ID] = shapeOf(s.Data)
	}
	return all
}

// keepShape holds what today's code made of the records to what the release's code
// can read: no higher version, and no member of another kind. So a replica of the
// release, in a rolling upgrade or after going back, reads on.
func (w *world) keepShape(f *fixture, old map[string]shape) {
	w.Helper()
	if len(old) == 0 {
		w.Error("no record to look at")
	}
	for at, was := range old {
		var raw []byte
		if id, isSecret := strings.CutPrefix(at, "secret "); isSecret {
			var err error
			raw, err = json.Marshal(w.secret(id))
			w.must(err)
		} else {
			raw = w.value(connectionkv.BucketConnections, strings.TrimPrefix(at, connectionkv.BucketConnections+" "))
		}
		if err := readableBy(was, shapeOf(raw)); err != nil {
			w.Errorf("%s: release %s could not read on: %v", at, f.Release, err)
		}
	}
}

// readableBy reports why a program that wrote records of one shape could not read one
// of another.
func readableBy(was, is shape) error {
	if is == nil {
		return errors.New("it is no object")
	}
	for name, kind := range was {
		if now, there := is[name]; there && now != kind {
			return fmt.Errorf("%s is %s, was %s", name, now, kind)
		}
	}
	if was["v"] != "" && is["v"] == "" {
		return errors.New("it has no version any more")
	}
	return nil
}
