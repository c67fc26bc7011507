package deploycheck

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// eachWay runs check on what the chart renders for every file of values.
func eachWay(t *testing.T, check func(t *testing.T, all []meta.Object)) {
	t.Helper()
	for name, values := range valuesFiles(t) {
		t.Run(name, func(t *testing.T) { check(t, objects(t, values)) })
	}
}

// pods returns the connector's and, if there is one, the hook's.
func pods(t *testing.T, all []meta.Object) map[string]core.PodSpec {
	t.Helper()
	_, _, pod := workload(t, all)
	specs := map[string]core.PodSpec{"connector": pod.Spec}
	if job := one[*batch.Job](t, all); job != nil {
		specs["streams"] = job.Spec.Template.Spec
	}
	return specs
}

// environment returns the variables of a pod's container that are written out.
func environment(t *testing.T, all []meta.Object, pod core.PodSpec) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, from := range pod.Containers[0].EnvFrom {
		config := one[*core.ConfigMap](t, all)
		if from.ConfigMapRef == nil || from.ConfigMapRef.Name != config.Name {
			t.Fatalf("variables from %+v, and the ConfigMap is %s", from, config.Name)
		}
		maps.Copy(env, config.Data)
	}
	for _, v := range pod.Containers[0].Env {
		if v.ValueFrom == nil {
			env[v.Name] = v.Value
		}
	}
	return env
}

// The restricted level of the Pod Security Standards, and a root that is read only.
func TestPodsHaveNoRights(t *testing.T) {
	eachWay(t, func(t *testing.T, all []meta.Object) {
		for name, pod := range pods(t, all) {
			yes := func(what string, b *bool, want bool) {
				t.Helper()
				if b == nil || *b != want {
					t.Errorf("%s: %s is not %v", name, what, want)
				}
			}
			yes("automountServiceAccountToken", pod.AutomountServiceAccountToken, false)
			yes("enableServiceLinks", pod.EnableServiceLinks, false) // would set NATS_PORT and the like
			yes("runAsNonRoot", pod.SecurityContext.RunAsNonRoot, true)
			if pod.HostNetwork || pod.HostPID || pod.HostIPC || *pod.SecurityContext.RunAsUser != 65532 || pod.SecurityContext.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s: %+v", name, pod.SecurityContext)
			}
			for _, c := range append(pod.InitContainers, pod.Containers...) {
				s := c.SecurityContext
				yes("allowPrivilegeEscalation", s.AllowPrivilegeEscalation, false)
				yes("privileged", s.Privileged, false)
				yes("readOnlyRootFilesystem", s.ReadOnlyRootFilesystem, true)
				yes("runAsNonRoot", s.RunAsNonRoot, true)
				if len(s.Capabilities.Add) > 0 || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) {
					t.Errorf("%s: capabilities %+v", name, s.Capabilities)
				}
			}
			for _, v := range pod.Volumes {
				if v.HostPath != nil {
					t.Errorf("%s mounts the host's %s", name, v.HostPath.Path)
				}
			}
		}
	})
}

func TestEveryMountHasItsVolume(t *testing.T) {
	eachWay(t, func(t *testing.T, all []meta.Object) {
		for name, pod := range pods(t, all) {
			volumes := map[string]bool{}
			for _, v := range pod.Volumes {
				volumes[v.Name] = true
				if v.Name == "vault-identity" && strings.Contains(t.Name(), "agent") {
					delete(volumes, v.Name) // the injector mounts it
				}
			}
			if kind, _, _ := workload(t, all); kind == "StatefulSet" && name == "connector" {
				volumes["escrow"] = true
			}
			for _, m := range pod.Containers[0].VolumeMounts {
				if !volumes[m.Name] {
					t.Errorf("%s mounts %s, and there is no such volume", name, m.Name)
				}
				delete(volumes, m.Name)
				if !m.ReadOnly && m.Name != "escrow" {
					t.Errorf("%s may write to %s", name, m.MountPath)
				}
			}
			for v := range volumes {
				t.Errorf("%s: nothing mounts the volume %s", name, v)
			}
		}
	})
}

// A setting that names a file names one that a Secret puts there.
func TestFilesOfSettingsAreMounted(t *testing.T) {
	eachWay(t, func(t *testing.T, all []meta.Object) {
		for name, pod := range pods(t, all) {
			files := map[string]bool{"/vault/secrets/token": true} // the injector's
			for _, m := range pod.Containers[0].VolumeMounts {
				for _, v := range pod.Volumes {
					if v.Name != m.Name {
						continue
					}
					if v.Secret != nil {
						for _, item := range v.Secret.Items {
							files[path.Join(m.MountPath, item.Path)] = true
						}
					}
					if v.Projected != nil {
						files[path.Join(m.MountPath, v.Projected.Sources[0].ServiceAccountToken.Path)] = true
					}
				}
			}
			for variable, value := range environment(t, all, pod) {
				if strings.HasPrefix(value, "/") && variable != "ESCROW_DIR" && !files[value] {
					t.Errorf("%s: %s=%s is not mounted", name, variable, value)
				}
			}
		}
	})
}

// settingNames returns every variable that the program knows, and which of them are
// secrets and may be given as <NAME>_FILE.
func settingNames(t *testing.T) (all, secrets []string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program(t, "finx-connector"), "settings", "list", "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var listed []struct{ Name string }
	if err := json.Unmarshal(out, &listed); err != nil || len(listed) < 50 {
		t.Fatalf("%d settings: %v", len(listed), err)
	}
	for _, s := range listed {
		all = append(all, s.Name)
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z_0-9]+)` \\(or `[A-Z_0-9]+_FILE`\\)").FindAllSubmatch(read(t, inRoot("README.md")), -1) {
		secrets = append(secrets, string(m[1]))
	}
	if len(secrets) < 5 {
		t.Fatalf("the README names %d secrets", len(secrets))
	}
	return all, secrets
}

// What the chart sets is read by the program itself, files and all.
func TestSettingsOfTheChartAreTheProgramsOwn(t *testing.T) {
	known, secrets := settingNames(t)
	for _, s := range secrets {
		known = append(known, s+"_FILE")
	}
	bin, file := program(t, "finx-connector"), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eachWay(t, func(t *testing.T, all []meta.Object) {
		for name, pod := range pods(t, all) {
			cmd := exec.CommandContext(t.Context(), bin, "settings", "list")
			for variable, value := range environment(t, all, pod) {
				if variable == "GOMEMLIMIT" || strings.HasPrefix(variable, "OTEL_") {
					continue
				}
				if !slices.Contains(known, variable) {
					t.Errorf("%s: %s is no setting", name, variable)
				}
				if slices.Contains(secrets, variable) {
					t.Errorf("%s: the secret %s is written into the chart's objects", name, variable)
				}
				if secret, ok := strings.CutSuffix(variable, "_FILE"); ok && slices.Contains(secrets, secret) {
					value = file
				}
				cmd.Env = append(cmd.Env, variable+"="+value)
			}
			if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "warning") {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
		}
	})
}

// The schema names exactly the settings that are neither secret nor set by a value
// of their own.
func TestSchemaNamesTheSettings(t *testing.T) {
	known, secrets := settingNames(t)
	own := append([]string{
		"LISTEN_ADDR", "DRAIN_TIMEOUT", "FINX_BASE_URL", "FINX_CLIENT_ID", "VAULT_ADDR", "VAULT_AUTH", "VAULT_K8S_ROLE", "VAULT_K8S_JWT_PATH",
		"VAULT_CACERT", "ESCROW_DIR", "NATS_URL", "NATS_CREDS", "NATS_NKEY_SEED_FILE", "NATS_CA", "NATS_CERT", "NATS_KEY", "NATS_INBOX_PREFIX",
	}, secrets...)
	known = slices.DeleteFunc(known, func(s string) bool { return slices.Contains(own, s) })
	slices.Sort(known)
	var names []string
	for _, s := range known {
		names = append(names, strings.Repeat(" ", 10)+strconv.Quote(s))
	}
	file := filepath.Join(chartDir(), "values.schema.json")
	enum := regexp.MustCompile(`(?s)("propertyNames": \{\s*"enum": \[\n).*?(\n\s*\])`)
	schema := read(t, file)
	if !enum.Match(schema) {
		t.Fatal("the schema names no settings")
	}
	sameAs(t, file, enum.ReplaceAll(schema, []byte("${1}"+strings.Join(names, ",\n")+"${2}")))
}

func TestGraceIsLongerThanADrain(t *testing.T) {
	eachWay(t, func(t *testing.T, all []meta.Object) {
		_, _, pod := workload(t, all)
		drain, err := time.ParseDuration(environment(t, all, pod.Spec)["DRAIN_TIMEOUT"])
		if err != nil {
			t.Fatal(err)
		}
		// What is left to do after it ends by steps of ten seconds each.
		if grace := time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second; grace < drain+30*time.Second {
			t.Errorf("grace %v, drain %v", grace, drain)
		}
	})
}

func TestProbes(t *testing.T) {
	eachWay(t, func(t *testing.T, all []meta.Object) {
		_, _, pod := workload(t, all)
		c := pod.Spec.Containers[0]
		for name, probe := range map[string]*core.Probe{"/healthz": c.LivenessProbe, "/healthz at the start": c.StartupProbe, "/readyz": c.ReadinessProbe} {
			if probe == nil || probe.HTTPGet.Path != strings.Fields(name)[0] || probe.HTTPGet.Port.StrVal != c.Ports[0].Name {
				t.Errorf("%s: %+v", name, probe)
			}
		}
		if c.ReadinessProbe.TimeoutSeconds < 5 {
			t.Error("the process gives a dependency four seconds, the probe less")
		}
		if listen := environment(t, all, pod.Spec)["LISTEN_ADDR"]; listen != ":"+strconv.Itoa(int(c.Ports[0].ContainerPort)) {
			t.Errorf("LISTEN_ADDR %s, port %d", listen, c.Ports[0].ContainerPort)
		}
	})
}

func TestMemoryLimitLeavesRoom(t *testing.T) {
	eachWay(t, func(t *testing.T, all []meta.Object) {
		_, _, pod := workload(t, all)
		limit := pod.Spec.Containers[0].Resources.Limits.Memory().Value()
		soft, given := environment(t, all, pod.Spec)["GOMEMLIMIT"]
		if given != (limit > 0) {
			t.Fatalf("GOMEMLIMIT %q, limit %d", soft, limit)
		}
		if !given {
			return
		}
		n, err := strconv.ParseInt(soft, 10, 64)
		if err != nil || n < limit*80/100 || n > limit*90/100 {
			t.Errorf("GOMEMLIMIT %s of %d: %v", soft, limit, err)
		}
	})
}

func TestEverythingPointsAtTheConnector(t *testing.T) {
	eachWay(t, func(t *testing.T, all []meta.Object) {
		kind, selector, pod := workload(t, all)
		selected := func(what string, s map[string]string) {
			t.Helper()
			if len(s) < 3 || !labels.SelectorFromSet(s).Matches(labels.Set(pod.Labels)) {
				t.Errorf("%s selects %v, the pods are %v", what, s, pod.Labels)
			}
			if job := one[*batch.Job](t, all); job != nil && labels.SelectorFromSet(s).Matches(labels.Set(job.Spec.Template.Labels)) {
				t.Errorf("%s selects the hook's pod too", what)
			}
		}
		selected(kind, selector)
		selected("Service", one[*core.Service](t, all).Spec.Selector)
		if p := one[*policy.PodDisruptionBudget](t, all); p != nil {
			selected("PodDisruptionBudget", p.Spec.Selector.MatchLabels)
		}
		for _, spread := range pod.Spec.TopologySpreadConstraints {
			selected(spread.TopologyKey, spread.LabelSelector.MatchLabels)
		}
		name := one[*core.Service](t, all).Name // all have one name
		if h := one[*autoscaling.HorizontalPodAutoscaler](t, all); h != nil && (h.Spec.ScaleTargetRef.Kind != kind || h.Spec.ScaleTargetRef.Name != name) {
			t.Errorf("HPA of %+v", h.Spec.ScaleTargetRef)
		}
		if s := one[*scaledObject](t, all); s != nil && (s.Spec.ScaleTargetRef.Kind != kind || s.Spec.ScaleTargetRef.Name != name) {
			t.Errorf("ScaledObject of %+v", s.Spec.ScaleTargetRef)
		}
		for _, o := range all {
			if len(o.GetName()) > 63 || o.GetLabels()["app.kubernetes.io/instance"] != release {
				t.Errorf("%T %s has labels %v", o, o.GetName(), o.GetLabels())
			}
		}
	})
}

// Streams are made before the pods, by somebody who may, once.
func TestStreamsAreAppliedByAHook(t *testing.T) {
	eachWay(t, func(t *testing.T, all []meta.Object) {
		job := one[*batch.Job](t, all)
		if job == nil {
			if !strings.HasSuffix(t.Name(), "/off") {
				t.Error("no job")
			}
			return
		}
		if job.Annotations["helm.sh/hook"] != "pre-install,pre-upgrade" || !strings.Contains(job.Annotations["helm.sh/hook-delete-policy"], "before-hook-creation") {
			t.Errorf("annotations %v", job.Annotations)
		}
		pod := job.Spec.Template.Spec
		if !slices.Equal(pod.Containers[0].Args, []string{"streams", "apply"}) || pod.RestartPolicy != core.RestartPolicyNever {
			t.Errorf("%v %s", pod.Containers[0].Args, pod.RestartPolicy)
		}
		// Nothing of the release is there yet when a hook of its installation runs.
		if len(pod.Containers[0].EnvFrom) != 0 || pod.ServiceAccountName != "" {
			t.Errorf("the hook needs %+v and the account %q", pod.Containers[0].EnvFrom, pod.ServiceAccountName)
		}
		_, _, connector := workload(t, all)
		for _, v := range pod.Volumes {
			for _, w := range connector.Spec.Volumes {
				if v.Name == "nats-identity" && w.Name == v.Name && v.Secret.SecretName == w.Secret.SecretName {
					t.Errorf("the hook is %s like the connector", v.Secret.SecretName)
				}
			}
		}
		if prefix := environment(t, all, pod)["NATS_INBOX_PREFIX"]; prefix != "_INBOX_provisioner" {
			t.Errorf("replies come to %s", prefix)
		}
	})
}
