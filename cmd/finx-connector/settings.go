package main

import (
	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/settings"
)

func (p *program) settingsCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "settings",
		Short:   "Show the settings",
		Example: `  finx-connector settings list --config finx-connector.yaml`,
	}, p.settingsListCommand())
}

// shownSetting is one setting as it is in force.
type shownSetting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
	Doc    string `json:"doc"`
}

func (p *program) settingsListCommand() *cobra.Command {
	var out format
	c := &cobra.Command{
		Use:   "list",
		Short: "List every setting, its value and where that came from",
		Long:  `list shows what would be in force for "serve" started here and now. Secrets are not shown.`,
		Example: `  finx-connector settings list
  finx-connector settings list --config finx-connector.yaml -o json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			// Nothing is needed: what is missing is what one comes here to find.
			s, err := p.loadSettings(settings.Need{})
			if err != nil {
				return err
			}
			doc := map[string]string{}
			for _, row := range settings.Table() {
				doc[row.Env] = row.Doc
			}
			all := []shownSetting{}
			for _, v := range s.Values() {
				all = append(all, shownSetting{v.Env, v.Shown, v.Source, doc[v.Env]})
			}
			if out.json() {
				return writeJSON(p.stdout, all)
			}
			t := newTable(p.stdout, "SETTING", "VALUE", "SOURCE")
			for _, one := range all {
				t.row(one.Name, one.Value, one.Source)
			}
			return t.flush()
		},
	}
	out.flag(c)
	return c
}
