package events

import "embed"

// schemaFiles are the JSON Schemas (draft 2020-12) of the data members, one a
// type. Additions of optional members keep the version; anything that could
// break a reader makes a v2 beside it.
//
//go:embed schemas/v1/*.json
var schemaFiles embed.FS

// SchemaID returns the dataschema of a type: a URN, because it is a name and
// there is no host that must answer for it.
func SchemaID(typ string) string { return "urn:finx-connector:schema:" + typ + ":v1" }

// Schema returns the JSON Schema of a type's data, nil for an unknown type.
func Schema(typ string) []byte {
	b, err := schemaFiles.ReadFile("schemas/v1/" + typ + ".json")
	if err != nil {
		return nil
	}
	return b
}
