package deploycheck

import (
	"maps"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
)

// One who scales is not overruled at every upgrade.
func TestOnlyOneDecidesHowMany(t *testing.T) {
	for name, values := range valuesFiles(t) {
		all := objects(t, values)
		var replicas *int32
		if d := one[*apps.Deployment](t, all); d != nil {
			replicas = d.Spec.Replicas
		} else {
			replicas = one[*apps.StatefulSet](t, all).Spec.Replicas
		}
		scaled := one[*autoscaling.HorizontalPodAutoscaler](t, all) != nil || one[*scaledObject](t, all) != nil
		if scaled == (replicas != nil) {
			t.Errorf("%s: replicas %v, scaled %v", name, replicas, scaled)
		}
	}
}

func TestKEDAAsksTheLanes(t *testing.T) {
	so := one[*scaledObject](t, objects(t, valuesFiles(t)["keda"]))
	if so.Spec.MinReplicaCount < 1 || so.Spec.MaxReplicaCount <= so.Spec.MinReplicaCount {
		t.Errorf("%d to %d", so.Spec.MinReplicaCount, so.Spec.MaxReplicaCount)
	}
	got := map[string]string{}
	for _, trigger := range so.Spec.Triggers {
		m := trigger.Metadata
		if trigger.Type != "nats-jetstream" || m["natsServerMonitoringEndpoint"] != "nats-headless.nats.svc.cluster.local:8222" || m["account"] != "FINX" || m["useHttps"] != "false" {
			t.Errorf("%s %v", trigger.Type, m)
		}
		for key := range m {
			if !slices.Contains([]string{"natsServerMonitoringEndpoint", "account", "stream", "consumer", "lagThreshold", "activationLagThreshold", "useHttps"}, key) {
				t.Errorf("the scaler knows no %s", key)
			}
		}
		got[m["consumer"]] = m["stream"] + " " + m["lagThreshold"]
	}
	want := map[string]string{"finx-connects": "FINX_REQUESTS 50", "finx-callbacks": "TEAM_CALLBACKS 20", "finx-syncs": "FINX_REQUESTS 200"}
	if !maps.Equal(got, want) {
		t.Errorf("triggers %v", got)
	}
}

// Each replica that keeps sealed answers has a volume of its own, and nothing
// deletes it.
func TestPersistentEscrowIsAVolumeEach(t *testing.T) {
	s := one[*apps.StatefulSet](t, objects(t, valuesFiles(t)["hpa"]))
	if s == nil || len(s.Spec.VolumeClaimTemplates) != 1 || s.Spec.VolumeClaimTemplates[0].Name != "escrow" {
		t.Fatalf("%+v", s)
	}
	keep := s.Spec.PersistentVolumeClaimRetentionPolicy
	if keep.WhenDeleted != apps.RetainPersistentVolumeClaimRetentionPolicyType || keep.WhenScaled != apps.RetainPersistentVolumeClaimRetentionPolicyType {
		t.Errorf("%+v", keep)
	}
	if *s.Spec.VolumeClaimTemplates[0].Spec.StorageClassName != "fast" || s.Spec.PodManagementPolicy != apps.ParallelPodManagement {
		t.Errorf("%+v", s.Spec)
	}
}

func TestVaultLogins(t *testing.T) {
	for name, want := range map[string]struct{ auth, audience string }{
		"default": {"kubernetes", "vault"}, "approle": {"approle", ""}, "agent": {"token", "vault"},
	} {
		all := objects(t, valuesFiles(t)[name])
		_, _, pod := workload(t, all)
		env := environment(t, all, pod.Spec)
		if env["VAULT_AUTH"] != want.auth {
			t.Errorf("%s: VAULT_AUTH=%s", name, env["VAULT_AUTH"])
		}
		audience := ""
		for _, v := range pod.Spec.Volumes {
			if v.Projected != nil {
				audience = v.Projected.Sources[0].ServiceAccountToken.Audience
			}
		}
		if audience != want.audience {
			t.Errorf("%s: token for %q", name, audience)
		}
		injected := pod.Annotations["vault.hashicorp.com/agent-inject"] == "true" && env["VAULT_TOKEN_FILE"] == "/vault/secrets/token" &&
			pod.Annotations["vault.hashicorp.com/agent-service-account-token-volume-name"] == "vault-identity" && pod.Annotations["vault.hashicorp.com/role"] == "finx"
		if injected != (name == "agent") {
			t.Errorf("%s: annotations %v", name, pod.Annotations)
		}
	}
}

func TestMonitorsFindThePort(t *testing.T) {
	ways := valuesFiles(t)
	pm := one[*monitoring.PodMonitor](t, objects(t, ways["production"]))
	// The alerts find their job by this part of its name.
	if job := pm.Spec.PodMetricsEndpoints[0].RelabelConfigs[0]; job.TargetLabel != "job" || *job.Replacement != "finx-connector/"+namespace+"/"+release {
		t.Errorf("%+v", job)
	}
	if *pm.Spec.PodMetricsEndpoints[0].Port != "http" || pm.Spec.PodMetricsEndpoints[0].Path != "/metrics" || pm.Labels["release"] != "prometheus" {
		t.Errorf("%+v", pm)
	}
	all := objects(t, ways["keda"])
	sm, svc := one[*monitoring.ServiceMonitor](t, all), one[*core.Service](t, all)
	if sm.Spec.Endpoints[0].Port != svc.Spec.Ports[0].Name || sm.Spec.Endpoints[0].RelabelConfigs[0].TargetLabel != "job" {
		t.Errorf("%+v", sm.Spec.Endpoints)
	}
	// A pod that is not ready has the most to tell.
	if !svc.Spec.PublishNotReadyAddresses {
		t.Error("pods that are not ready are not scraped")
	}
	if rules := one[*monitoring.PrometheusRule](t, objects(t, ways["production"])); len(rules.Spec.Groups) == 0 || rules.Labels["release"] != "prometheus" {
		t.Errorf("%d groups of alerts", len(rules.Spec.Groups))
	}
}

// A changed setting reaches pods that read it only at their start.
func TestChangedSettingsRollOut(t *testing.T) {
	values := valuesFiles(t)["default"]
	sum := func() string {
		_, _, pod := workload(t, objects(t, values))
		return pod.Annotations["checksum/settings"]
	}
	before := sum()
	values["settings"] = map[string]any{"LOG_LEVEL": "debug"}
	if after := sum(); before == after || strings.TrimSpace(before) == "" {
		t.Errorf("checksum %q and then %q", before, after)
	}
}
