package promcheck

// The part of Grafana's dashboard model that the dashboards use (schema version 39,
// Grafana 10.4 and newer). Fields are in the order in which they are written.

// Dashboard is one page.
type Dashboard struct {
	UID           string     `json:"uid"`
	Title         string     `json:"title"`
	Description   string     `json:"description"`
	Tags          []string   `json:"tags"`
	SchemaVersion int        `json:"schemaVersion"`
	Version       int        `json:"version"`
	Editable      bool       `json:"editable"`
	Refresh       string     `json:"refresh"`
	Timezone      string     `json:"timezone"`
	GraphTooltip  int        `json:"graphTooltip"`
	Time          TimeRange  `json:"time"`
	Links         []Link     `json:"links"`
	Templating    Templating `json:"templating"`
	Panels        []Panel    `json:"panels"`
}

// TimeRange is what is shown at first.
type TimeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Link leads to the other dashboards.
type Link struct {
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Tags        []string `json:"tags"`
	AsDropdown  bool     `json:"asDropdown"`
	IncludeVars bool     `json:"includeVars"`
	KeepTime    bool     `json:"keepTime"`
}

// Templating holds the variables at the top of the page.
type Templating struct {
	List []Variable `json:"list"`
}

// Variable is what the reader chooses.
type Variable struct {
	Name       string      `json:"name"`
	Label      string      `json:"label"`
	Type       string      `json:"type"`
	Query      string      `json:"query"`
	Datasource *Datasource `json:"datasource,omitempty"`
	Refresh    int         `json:"refresh,omitempty"`
	Sort       int         `json:"sort,omitempty"`
	Multi      bool        `json:"multi,omitempty"`
	IncludeAll bool        `json:"includeAll,omitempty"`
	AllValue   string      `json:"allValue,omitempty"`
}

// Datasource is a reference to one.
type Datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Panel is one picture.
type Panel struct {
	ID          int         `json:"id"`
	Type        string      `json:"type"`
	Title       string      `json:"title"`
	Description string      `json:"description,omitempty"`
	Datasource  *Datasource `json:"datasource,omitempty"`
	GridPos     GridPos     `json:"gridPos"`
	Targets     []Target    `json:"targets,omitempty"`
	FieldConfig *Fields     `json:"fieldConfig,omitempty"`
	Options     any         `json:"options,omitempty"`
	Collapsed   *bool       `json:"collapsed,omitempty"` // of a row
}

// GridPos is where a panel is, in a grid of 24 columns.
type GridPos struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

// Target is one question to Prometheus.
type Target struct {
	RefID        string      `json:"refId"`
	Datasource   *Datasource `json:"datasource"`
	Expr         string      `json:"expr"`
	LegendFormat string      `json:"legendFormat"`
	Instant      bool        `json:"instant"`
	Range        bool        `json:"range"`
}

// Fields is how values are shown.
type Fields struct {
	Defaults  FieldDefaults `json:"defaults"`
	Overrides []any         `json:"overrides"`
}

// FieldDefaults is the same for all values of a panel.
type FieldDefaults struct {
	Unit       string     `json:"unit"`
	Min        *float64   `json:"min,omitempty"`
	NoValue    string     `json:"noValue,omitempty"`
	Color      *Color     `json:"color,omitempty"`
	Mappings   []Mapping  `json:"mappings,omitempty"`
	Thresholds Thresholds `json:"thresholds"`
	Custom     *Custom    `json:"custom,omitempty"`
}

// Color is how a series gets its colour.
type Color struct {
	Mode string `json:"mode"`
}

// Mapping shows words for numbers.
type Mapping struct {
	Type    string           `json:"type"`
	Options map[string]Shown `json:"options"`
}

// Shown is what stands for a number.
type Shown struct {
	Text  string `json:"text"`
	Color string `json:"color"`
	Index int    `json:"index"`
}

// Thresholds are the numbers from which on a colour holds.
type Thresholds struct {
	Mode  string `json:"mode"`
	Steps []Step `json:"steps"`
}

// Step is one of them; the first has no number.
type Step struct {
	Color string   `json:"color"`
	Value *float64 `json:"value"`
}

// Custom is how a graph is drawn.
type Custom struct {
	DrawStyle         string  `json:"drawStyle"`
	LineWidth         int     `json:"lineWidth"`
	FillOpacity       int     `json:"fillOpacity"`
	ShowPoints        string  `json:"showPoints"`
	Stacking          *Choice `json:"stacking,omitempty"`
	ThresholdsStyle   *Choice `json:"thresholdsStyle,omitempty"`
	ScaleDistribution *Scale  `json:"scaleDistribution,omitempty"`
}

// Choice is one mode of several.
type Choice struct {
	Mode string `json:"mode"`
}

// Scale is that of the axis.
type Scale struct {
	Type string `json:"type"`
	Log  int    `json:"log,omitempty"`
}
