package deploycheck

import (
	"slices"
	"strings"
	"testing"

	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestNetworkPoliciesAllowWhatIsNeeded(t *testing.T) {
	eachWay(t, func(t *testing.T, all []meta.Object) {
		_, _, pod := workload(t, all)
		want := map[string][]string{
			"connector": {"53/UDP", "53/TCP", "4222/TCP", "8200/TCP", "443/TCP"},
			"streams":   {"53/UDP", "53/TCP", "4222/TCP"},
		}
		found := 0
		for _, o := range all {
			p, ok := o.(*networking.NetworkPolicy)
			if !ok {
				continue
			}
			found++
			who := p.Spec.PodSelector.MatchLabels["app.kubernetes.io/component"]
			if who == "connector" && !labels.SelectorFromSet(p.Spec.PodSelector.MatchLabels).Matches(labels.Set(pod.Labels)) {
				t.Errorf("the policy selects %v", p.Spec.PodSelector.MatchLabels)
			}
			// The hook of an installation comes before what is no hook.
			if hook := p.Annotations["helm.sh/hook"]; (hook != "") != (who == "streams") {
				t.Errorf("%s: hook %q", who, hook)
			}
			if len(p.Spec.PolicyTypes) != 2 {
				t.Errorf("%s: %v", who, p.Spec.PolicyTypes)
			}
			var ports []string
			for _, rule := range p.Spec.Egress {
				if len(rule.To) == 0 {
					t.Errorf("%s may speak to everybody on %v", who, rule.Ports)
				}
				for _, port := range rule.Ports {
					ports = append(ports, port.Port.String()+"/"+string(*port.Protocol))
				}
			}
			if len(ports) < len(want[who]) || !slices.Equal(ports[:len(want[who])], want[who]) {
				t.Errorf("%s may speak to %v", who, ports)
			}
			for _, rule := range p.Spec.Ingress {
				if who == "streams" || len(rule.From) == 0 || len(rule.Ports) != 1 {
					t.Errorf("%s hears %+v", who, rule)
				}
			}
		}
		if off := strings.HasSuffix(t.Name(), "/off"); off != (found == 0) {
			t.Errorf("%d policies", found)
		}
	})
}
