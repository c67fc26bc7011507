package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readFile takes the keys of a settings file. Its errors hold no value of it.
func (l *loader) readFile(path string, data []byte) error {
	var doc, second yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF): // an empty file sets nothing
		return nil
	case err != nil:
		return fmt.Errorf("settings: reading %s: %s", path, notYAML(err))
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return fmt.Errorf("settings: reading %s: it must be one YAML document", path)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil // comments only
	}
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("settings: reading %s: it must be a mapping of keys to values", path)
	}
	l.file = map[string]given{}
	known := knownKeys()
	for i := 0; i+1 < len(root.Content); i += 2 {
		l.take(path, known, root.Content[i], root.Content[i+1])
	}
	return nil
}

func (l *loader) take(path string, known []string, key, value *yaml.Node) {
	source := fmt.Sprintf("%s line %d", path, key.Line)
	name := key.Value
	switch {
	case !slices.Contains(known, name):
		l.problem(shortened(name), source, "unknown key"+didYouMean(nearest(name, known)))
		return
	case l.file[name].source != "":
		l.problem(name, source, "given twice; first at "+l.file[name].source)
		return
	}
	text, ok := scalar(value)
	if !ok {
		l.problem(name, source, "must be one value, not a mapping, list or alias")
		return
	}
	l.file[name] = given{value: text, source: source}
}

// scalar returns the text of a value; a list of texts is the comma list that
// the environment would hold.
func scalar(n *yaml.Node) (string, bool) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return "", true
		}
		return n.Value, true
	case yaml.SequenceNode:
		parts := make([]string, 0, len(n.Content))
		for _, c := range n.Content {
			if c.Kind != yaml.ScalarNode || strings.Contains(c.Value, ",") {
				return "", false
			}
			parts = append(parts, c.Value)
		}
		return strings.Join(parts, ","), true
	}
	return "", false
}

// notYAML keeps the line of a YAML error and nothing else: the parser quotes the
// file, as with a password that begins with * and so names an anchor.
func notYAML(err error) string {
	if line := regexp.MustCompile(`line \d+`).FindString(err.Error()); line != "" {
		return "not valid YAML near " + line + "; a value with special characters needs quotes"
	}
	return "not valid YAML; a value with special characters needs quotes"
}

// knownKeys returns all keys a file may have.
func knownKeys() []string {
	var keys []string
	for _, s := range Table() {
		keys = append(keys, s.Key())
		if s.Secret {
			keys = append(keys, s.Key()+"_file")
		}
	}
	return keys
}
