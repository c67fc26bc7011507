// Package settings reads what an operator can set: one YAML file and the
// environment, which wins. Keys of the file are the variables' names in lower
// case, flat.
//
// One table (Table) is the source of everything: of parsing, of the listing
// in --help, and of the README's table. An error names the variable, where its
// value came from and what is allowed. It never holds the value, because a secret pasted into the
// wrong variable is a secret still.
package settings
