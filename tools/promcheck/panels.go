package promcheck

import "strings"

const columns = 24

// prometheus is the data source that the reader has chosen.
func prometheus() *Datasource { return &Datasource{Type: "prometheus", UID: "${datasource}"} }

// selectors fills in what the reader has chosen: {@} is the chosen replicas, {#} the
// whole installation.
func selectors(expr string) string {
	return strings.NewReplacer("@", `job="$job", instance=~"$instance"`, "#", `job="$job"`).Replace(expr)
}

// page puts a dashboard together. Panels are laid out from left to right, a line
// ends where the next does not fit, and at each row.
func page(uid, title, description string, panels ...Panel) Dashboard {
	d := Dashboard{
		UID: "finx-connector-" + uid, Title: "finx-connector / " + title, Description: description, Tags: []string{"finx-connector"},
		SchemaVersion: 39, Version: 1, Editable: true, Refresh: "30s", Timezone: "utc", GraphTooltip: 1,
		Time:  TimeRange{From: "now-6h", To: "now"},
		Links: []Link{{Type: "dashboards", Title: "finx-connector", Tags: []string{"finx-connector"}, IncludeVars: true, KeepTime: true}},
		Templating: Templating{List: []Variable{
			{Name: "datasource", Label: "Data source", Type: "datasource", Query: "prometheus"},
			{Name: "job", Label: "Installation", Type: "query", Query: "label_values(finx_connector_build_info, job)", Datasource: prometheus(), Refresh: 2, Sort: 1},
			{
				Name: "instance", Label: "Replica", Type: "query", Query: `label_values(finx_connector_build_info{job="$job"}, instance)`,
				Datasource: prometheus(), Refresh: 2, Sort: 1, Multi: true, IncludeAll: true, AllValue: ".*",
			},
		}},
	}
	x, y, height := 0, 0, 0
	for i, p := range panels {
		if p.Type == "row" || x+p.GridPos.W > columns {
			x, y, height = 0, y+height, 0
		}
		p.ID, p.GridPos.X, p.GridPos.Y = i+1, x, y
		x, height = x+p.GridPos.W, max(height, p.GridPos.H)
		d.Panels = append(d.Panels, p)
	}
	return d
}

// row begins a section.
func row(title string) Panel {
	open := false
	return Panel{Type: "row", Title: title, GridPos: GridPos{H: 1, W: columns}, Collapsed: &open}
}

// ask is a question with the name of its answers.
type ask struct{ expr, legend string }

func targets(asks []ask, instant bool) []Target {
	var all []Target
	for i, a := range asks {
		all = append(all, Target{
			RefID: string(rune('A' + i)), Datasource: prometheus(), Expr: selectors(a.expr), LegendFormat: a.legend, Instant: instant, Range: !instant,
		})
	}
	return all
}

// limits are the numbers from which on a value is orange and red; at both equal, it
// is red at once.
func limits(orange, red float64) Thresholds {
	t := Thresholds{Mode: "absolute", Steps: []Step{{Color: "green"}}}
	if orange != red {
		t.Steps = append(t.Steps, Step{"orange", &orange})
	}
	t.Steps = append(t.Steps, Step{"red", &red})
	return t
}

// calm is for a number that is neither good nor bad.
func calm() Thresholds { return Thresholds{Mode: "absolute", Steps: []Step{{Color: "blue"}}} }

// words shows what 0 and 1 mean.
func words(zero, one string) []Mapping {
	return []Mapping{{Type: "value", Options: map[string]Shown{"0": {zero, "green", 0}, "1": {one, "red", 1}}}}
}

// statOptions is how numbers are shown.
type statOptions struct {
	ColorMode     string        `json:"colorMode"`
	GraphMode     string        `json:"graphMode"`
	TextMode      string        `json:"textMode"`
	Orientation   string        `json:"orientation"`
	ReduceOptions reduceOptions `json:"reduceOptions"`
}

type reduceOptions struct {
	Calcs  []string `json:"calcs"`
	Values bool     `json:"values"`
	Fields string   `json:"fields"`
}

// stat is a number now, one for each answer.
func stat(width int, title, description, unit string, t Thresholds, asks ...ask) Panel {
	text := "value"
	for _, a := range asks {
		if a.legend != "" {
			text = "value_and_name"
		}
	}
	return Panel{
		Type: "stat", Title: title, Description: description, Datasource: prometheus(), GridPos: GridPos{H: 4, W: width},
		Targets:     targets(asks, true),
		FieldConfig: &Fields{Defaults: FieldDefaults{Unit: unit, NoValue: "not known", Color: &Color{"thresholds"}, Thresholds: t}, Overrides: []any{}},
		Options:     statOptions{"background", "none", text, "auto", reduceOptions{Calcs: []string{"lastNotNull"}}},
	}
}

// lamp is a stat of zeros and ones, in words.
func lamp(width int, title, description, zero, one string, asks ...ask) Panel {
	p := stat(width, title, description, "none", limits(1, 1), asks...)
	p.FieldConfig.Defaults.Mappings = words(zero, one)
	return p
}

// graphOptions is how a graph is explained.
type graphOptions struct {
	Legend  legend  `json:"legend"`
	Tooltip tooltip `json:"tooltip"`
}

type legend struct {
	DisplayMode string   `json:"displayMode"`
	Placement   string   `json:"placement"`
	ShowLegend  bool     `json:"showLegend"`
	Calcs       []string `json:"calcs"`
}

type tooltip struct {
	Mode string `json:"mode"`
	Sort string `json:"sort"`
}

// graph is values over time.
func graph(width int, title, description, unit string, asks ...ask) Panel {
	zero := 0.0
	return Panel{
		Type: "timeseries", Title: title, Description: description, Datasource: prometheus(), GridPos: GridPos{H: 8, W: width},
		Targets: targets(asks, false),
		FieldConfig: &Fields{Defaults: FieldDefaults{
			Unit: unit, Min: &zero, Color: &Color{"palette-classic"}, Thresholds: Thresholds{Mode: "absolute", Steps: []Step{{Color: "green"}}},
			Custom: &Custom{DrawStyle: "line", LineWidth: 1, FillOpacity: 8, ShowPoints: "never"},
		}, Overrides: []any{}},
		Options: graphOptions{legend{"list", "bottom", true, []string{}}, tooltip{"multi", "desc"}},
	}
}

// stacked draws the values on top of each other: they are parts of a whole.
func stacked(p Panel) Panel {
	p.FieldConfig.Defaults.Custom.Stacking = &Choice{"normal"}
	p.FieldConfig.Defaults.Custom.FillOpacity = 40
	return p
}

// lined draws the numbers from which on a value is orange and red.
func lined(p Panel, orange, red float64) Panel {
	p.FieldConfig.Defaults.Thresholds = limits(orange, red)
	p.FieldConfig.Defaults.Custom.ThresholdsStyle = &Choice{"line"}
	return p
}

// barOptions is how bars are shown.
type barOptions struct {
	DisplayMode   string        `json:"displayMode"`
	Orientation   string        `json:"orientation"`
	ReduceOptions reduceOptions `json:"reduceOptions"`
}

// bars compares the answers of now.
func bars(width int, title, description string, asks ...ask) Panel {
	return Panel{
		Type: "bargauge", Title: title, Description: description, Datasource: prometheus(), GridPos: GridPos{H: 8, W: width},
		Targets:     targets(asks, true),
		FieldConfig: &Fields{Defaults: FieldDefaults{Unit: "short", Color: &Color{"thresholds"}, Thresholds: calm()}, Overrides: []any{}},
		Options:     barOptions{"basic", "horizontal", reduceOptions{Calcs: []string{"lastNotNull"}}},
	}
}
