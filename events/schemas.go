package events

import (
	"embed"
	"strings"
)

// schemaFiles are the JSON Schemas (draft 2020-12) of the data members, one a
// type. Additions of optional members keep the version; anything that could
// break a reader makes a v2 beside it.
//
//go:embed schemas/*/*.json
var schemaFiles embed.FS

const schemaPrefix = "urn:finx-connector:schema:"

// SchemaID returns the dataschema of a type: a URN, because it is a name and
// there is no host that must answer for it.
func SchemaID(typ string) string { return schemaPrefix + typ + ":v1" }

// SchemaByID returns the JSON Schema that a dataschema names, nil for an id that is
// none of ours. The id says the version, so what was published as v1 stays v1 when
// there is a v2 of the same type beside it.
func SchemaByID(id string) []byte {
	name, ours := strings.CutPrefix(id, schemaPrefix)
	i := strings.LastIndexByte(name, ':')
	if !ours || i < 0 || strings.ContainsAny(name, "/\\") {
		return nil
	}
	b, err := schemaFiles.ReadFile("schemas/" + name[i+1:] + "/" + name[:i] + ".json")
	if err != nil {
		return nil
	}
	return b
}

// Schema returns the JSON Schema of the data that this program writes for a type, nil
// for an unknown one.
func Schema(typ string) []byte { return SchemaByID(SchemaID(typ)) }
