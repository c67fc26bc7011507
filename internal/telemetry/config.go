package telemetry

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// The variables that are read here. The exporter reads the rest of OTEL_EXPORTER_OTLP_…
// (headers, certificates, compression, timeout) and the SDK OTEL_BSP_… and
// OTEL_SPAN_… out of the process's environment by themselves.
const (
	envDisabled       = "OTEL_SDK_DISABLED"
	envExporter       = "OTEL_TRACES_EXPORTER"
	envProtocol       = "OTEL_EXPORTER_OTLP_PROTOCOL"
	envTracesProtocol = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	envSampler        = "OTEL_TRACES_SAMPLER"
	envSamplerArg     = "OTEL_TRACES_SAMPLER_ARG"
	envQueueSize      = "OTEL_BSP_MAX_QUEUE_SIZE"
)

// files are the variables that name a file which must be readable. The exporter
// would say so on standard error and go on without it.
func files() []string {
	var all []string
	for _, name := range []string{"CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"} {
		all = append(all, "OTEL_EXPORTER_OTLP_"+name, "OTEL_EXPORTER_OTLP_TRACES_"+name)
	}
	return all
}

// Config says whether traces are made and where they go. Logger is required.
type Config struct {
	// Endpoint is OTEL_EXPORTER_OTLP_ENDPOINT, TracesEndpoint the one for traces alone,
	// which wins; with neither, traces are off. Both are absolute http or https URLs;
	// /v1/traces is appended to the first, unless the protocol is grpc.
	Endpoint, TracesEndpoint string
	// Getenv returns OpenTelemetry's own variables, "" for one that is not set;
	// os.Getenv when nil.
	Getenv func(string) string

	Service  string // service.name, unless OTEL_SERVICE_NAME says otherwise
	Version  string // service.version
	Instance string // service.instance.id

	Logger  *slog.Logger
	Metrics *Metrics // nil counts nothing
}

// leastHidden is the length from which a word of a header may be a secret.
const leastHidden = 6

// hidden takes the words of the headers that are sent out of a text: they are keys for
// the endpoint, whose answer, or that of a gateway before it, may quote them.
func (c Config) hidden() *strings.Replacer {
	var pairs []string
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"} {
		for header := range strings.SplitSeq(c.getenv(name), ",") {
			_, value, _ := strings.Cut(header, "=")
			if plain, err := url.PathUnescape(value); err == nil {
				value = plain
			}
			for word := range strings.FieldsSeq(value) {
				if len(word) >= leastHidden {
					pairs = append(pairs, word, "[redacted]")
				}
			}
		}
	}
	return strings.NewReplacer(pairs...)
}

func (c Config) getenv(name string) string {
	if c.Getenv == nil {
		return os.Getenv(name)
	}
	return c.Getenv(name)
}

// protocols of OTLP, as OpenTelemetry spells them.
const (
	protocolGRPC = "grpc"
	protocolHTTP = "http/protobuf"
	protocolJSON = "http/json"
)

// plan is what the configuration comes to.
type plan struct {
	endpoint string // "" is off
	grpc     bool
	sampler  samplerPlan
	queue    int
}

// plan reads the configuration. Its errors name the variable that is wrong.
func (c Config) plan() (plan, error) {
	get := c.getenv
	if c.Endpoint == "" && c.TracesEndpoint == "" || strings.EqualFold(get(envDisabled), "true") {
		return plan{}, nil
	}
	switch exporter := get(envExporter); exporter {
	case "none":
		return plan{}, nil
	case "", "otlp":
	default:
		return plan{}, wrong(envExporter, "otlp or none")
	}
	var p plan
	var err error
	if p.grpc, err = isGRPC(get); err != nil {
		return plan{}, err
	}
	if p.endpoint, err = c.endpoint(p.grpc); err != nil {
		return plan{}, err
	}
	if p.sampler, err = readSampler(get(envSampler), get(envSamplerArg)); err != nil {
		return plan{}, err
	}
	if p.queue, err = queueSize(get(envQueueSize)); err != nil {
		return plan{}, err
	}
	for _, name := range files() {
		if path := get(name); path != "" {
			if _, err := os.ReadFile(path); err != nil { //nolint:gosec // the operator's own file
				return plan{}, fmt.Errorf("telemetry: configuring: %s: %w", name, err)
			}
		}
	}
	return p, nil
}

func wrong(name, allowed string) error {
	return fmt.Errorf("telemetry: configuring: %s: allowed is %s", name, allowed)
}

func isGRPC(get func(string) string) (bool, error) {
	name := envTracesProtocol
	if get(name) == "" {
		name = envProtocol
	}
	switch get(name) {
	case protocolGRPC:
		return true, nil
	case "", protocolHTTP, protocolJSON:
		return false, nil
	}
	return false, wrong(name, strings.Join([]string{protocolHTTP, protocolJSON, protocolGRPC}, ", "))
}

// endpoint is where the exporter sends to, whole.
func (c Config) endpoint(grpc bool) (string, error) {
	given, name := c.TracesEndpoint, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	if given == "" {
		given, name = c.Endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT"
	}
	u, err := url.Parse(given)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", wrong(name, "an absolute http or https URL")
	}
	if c.TracesEndpoint == "" && !grpc {
		u = u.JoinPath("v1", "traces")
	}
	return u.String(), nil
}

// defaultQueue is OpenTelemetry's own.
const defaultQueue = 2048

func queueSize(given string) (int, error) {
	if given == "" {
		return defaultQueue, nil
	}
	n, err := strconv.Atoi(given)
	if err != nil || n < 1 {
		return 0, wrong(envQueueSize, "a positive number")
	}
	return n, nil
}

// samplerPlan is which traces are recorded that begin here, and whether upstream's
// decision stands for those that do not.
type samplerPlan struct {
	ratio       float64
	parentBased bool
}

// readSampler reads the names that OpenTelemetry has for samplers.
func readSampler(name, arg string) (samplerPlan, error) {
	kind, parentBased := strings.CutPrefix(strings.ToLower(strings.TrimSpace(name)), "parentbased_")
	p := samplerPlan{ratio: 1, parentBased: parentBased}
	switch kind {
	case "":
		p.parentBased = true // the default is parentbased_always_on
		if parentBased {
			return p, errSampler()
		}
	case "always_on":
	case "always_off":
		p.ratio = 0
	case "traceidratio":
		if arg = strings.TrimSpace(arg); arg == "" {
			return p, nil
		}
		ratio, err := strconv.ParseFloat(arg, 64)
		if err != nil || !(ratio >= 0 && ratio <= 1) {
			return p, wrong(envSamplerArg, "a number from 0 to 1")
		}
		p.ratio = ratio
	default:
		return p, errSampler()
	}
	return p, nil
}

func errSampler() error {
	return wrong(envSampler, "always_on, always_off, traceidratio, each also with parentbased_ before it")
}

var errNoLogger = errors.New("telemetry: configuring: a logger is needed")
