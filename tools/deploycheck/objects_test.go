package deploycheck

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// scaledObject is what the chart uses of KEDA's keda.sh/v1alpha1; KEDA's own
// module would bring in half of Kubernetes. Fields: keda.sh, "ScaledObject
// specification" and "NATS JetStream".
type scaledObject struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		ScaleTargetRef struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Name       string `json:"name"`
		} `json:"scaleTargetRef"`
		MinReplicaCount int `json:"minReplicaCount"`
		MaxReplicaCount int `json:"maxReplicaCount"`
		PollingInterval int `json:"pollingInterval"`
		CooldownPeriod  int `json:"cooldownPeriod"`
		Triggers        []struct {
			Type     string            `json:"type"`
			Metadata map[string]string `json:"metadata"`
		} `json:"triggers"`
	} `json:"spec"`
}

// kinds makes an empty object of every kind that the chart may render.
func kinds() map[string]func() meta.Object {
	return map[string]func() meta.Object{
		"v1/ConfigMap":                           func() meta.Object { return &core.ConfigMap{} },
		"v1/Service":                             func() meta.Object { return &core.Service{} },
		"v1/ServiceAccount":                      func() meta.Object { return &core.ServiceAccount{} },
		"apps/v1/Deployment":                     func() meta.Object { return &apps.Deployment{} },
		"apps/v1/StatefulSet":                    func() meta.Object { return &apps.StatefulSet{} },
		"batch/v1/Job":                           func() meta.Object { return &batch.Job{} },
		"policy/v1/PodDisruptionBudget":          func() meta.Object { return &policy.PodDisruptionBudget{} },
		"autoscaling/v2/HorizontalPodAutoscaler": func() meta.Object { return &autoscaling.HorizontalPodAutoscaler{} },
		"networking.k8s.io/v1/NetworkPolicy":     func() meta.Object { return &networking.NetworkPolicy{} },
		"keda.sh/v1alpha1/ScaledObject":          func() meta.Object { return &scaledObject{} },
		"monitoring.coreos.com/v1/PodMonitor":    func() meta.Object { return &monitoring.PodMonitor{} },

		"monitoring.coreos.com/v1/ServiceMonitor": func() meta.Object { return &monitoring.ServiceMonitor{} },
		"monitoring.coreos.com/v1/PrometheusRule": func() meta.Object { return &monitoring.PrometheusRule{} },
	}
}

// objects renders the chart and decodes what comes out. A field that its kind
// does not have, or has twice, is an error.
func objects(t *testing.T, values map[string]any) []meta.Object {
	t.Helper()
	files, err := render(t.Context(), values)
	if err != nil {
		t.Fatal(err)
	}
	var all []meta.Object
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for document := range strings.SplitSeq(files[name], "\n---\n") {
			if strings.Trim(document, "-\n ") == "" {
				continue
			}
			o, err := decode(document)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, document)
			}
			all = append(all, o)
		}
	}
	return all
}

func decode(document string) (meta.Object, error) {
	var head meta.TypeMeta
	if err := yaml.Unmarshal([]byte(document), &head); err != nil {
		return nil, err
	}
	empty := kinds()[head.APIVersion+"/"+head.Kind]
	if empty == nil {
		return nil, fmt.Errorf("unknown kind %s/%s", head.APIVersion, head.Kind)
	}
	o := empty()
	return o, yaml.UnmarshalStrict([]byte(document), o)
}

// one returns the only object of a kind, or the zero value.
func one[T meta.Object](t *testing.T, all []meta.Object) T {
	t.Helper()
	var found T
	n := 0
	for _, o := range all {
		if typed, ok := o.(T); ok {
			found = typed
			n++
		}
	}
	if n > 1 {
		t.Fatalf("%d objects of %T", n, found)
	}
	return found
}

// workload returns the labels that select the connector's pods and the pod.
func workload(t *testing.T, all []meta.Object) (kind string, selector map[string]string, pod core.PodTemplateSpec) {
	t.Helper()
	if d := one[*apps.Deployment](t, all); d != nil {
		return "Deployment", d.Spec.Selector.MatchLabels, d.Spec.Template
	}
	if s := one[*apps.StatefulSet](t, all); s != nil {
		return "StatefulSet", s.Spec.Selector.MatchLabels, s.Spec.Template
	}
	t.Fatal("nothing runs the connector")
	return "", nil, core.PodTemplateSpec{}
}

func TestEveryKindIsRendered(t *testing.T) {
	seen := map[string]bool{}
	for _, values := range valuesFiles(t) {
		for _, o := range objects(t, values) {
			seen[fmt.Sprintf("%T", o)] = true
		}
	}
	for kind, empty := range kinds() {
		if !seen[fmt.Sprintf("%T", empty())] {
			t.Errorf("no file of values renders a %s", kind)
		}
	}
}

func TestStrangeFieldsAreRefused(t *testing.T) {
	for _, document := range []string{
		"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {prots: []}",
		"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: []}\nspec: {}",
		"apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: x}\nspec: {minReplicas: 1}",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: x}",
	} {
		if o, err := decode(document); err == nil {
			t.Errorf("taken: %T %s", o, document)
		}
	}
}
