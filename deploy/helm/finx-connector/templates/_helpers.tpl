{{- define "finx-connector.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 52 characters: the name of a Job or a StatefulSet's pod gets a suffix. */}}
{{- define "finx-connector.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "finx-connector.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "finx-connector.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "finx-connector.selector" -}}
app.kubernetes.io/name: {{ include "finx-connector.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: connector
{{- end -}}

{{/* Takes a dict of root and component. */}}
{{- define "finx-connector.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "finx-connector.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{- define "finx-connector.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "finx-connector.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "finx-connector.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The kind that runs the pods: each replica has a volume of its own only in a StatefulSet. */}}
{{- define "finx-connector.kind" -}}
{{- if and .Values.escrow.dir.enabled .Values.escrow.dir.persistent -}}StatefulSet{{- else -}}Deployment{{- end -}}
{{- end -}}

{{/* In bytes, from a memory limit such as 256Mi or 1Gi; empty without one. */}}
{{- define "finx-connector.goMemLimit" -}}
{{- with (.Values.resources).limits -}}{{- with .memory -}}
{{- $factor := 0 -}}
{{- if hasSuffix "Mi" . -}}{{- $factor = 1048576 -}}{{- else if hasSuffix "Gi" . -}}{{- $factor = 1073741824 -}}
{{- else -}}{{- fail (printf "resources.limits.memory: %s: write it in Mi or Gi, or GOMEMLIMIT cannot be told" .) -}}{{- end -}}
{{- div (mul (int64 (. | trimSuffix "Mi" | trimSuffix "Gi")) $factor $.Values.goMemLimitPercent) 100 -}}
{{- end -}}{{- end -}}
{{- end -}}

{{/* The settings that are no secret, as YAML: what the values of the chart say, then .Values.settings. */}}
{{- define "finx-connector.settings" -}}
{{- $s := dict "LISTEN_ADDR" (printf ":%v" .Values.port) "DRAIN_TIMEOUT" (printf "%vs" .Values.drainTimeoutSeconds) -}}
{{- $_ := set $s "FINX_BASE_URL" .Values.finx.baseURL -}}
{{- $_ := set $s "FINX_CLIENT_ID" .Values.finx.clientID -}}
{{- $_ := set $s "VAULT_ADDR" .Values.vault.addr -}}
{{- $_ := set $s "VAULT_AUTH" (ternary "token" .Values.vault.auth (eq .Values.vault.auth "agent")) -}}
{{- if eq .Values.vault.auth "kubernetes" -}}
{{- $_ := set $s "VAULT_K8S_ROLE" .Values.vault.kubernetes.role -}}
{{- $_ := set $s "VAULT_K8S_JWT_PATH" "/var/run/secrets/vault/token" -}}
{{- else if eq .Values.vault.auth "agent" -}}
{{- $_ := set $s "VAULT_TOKEN_FILE" "/vault/secrets/token" -}}
{{- end -}}
{{- if .Values.vault.caSecret -}}{{- $_ := set $s "VAULT_CACERT" "/etc/finx-connector/vault-ca/ca.crt" -}}{{- end -}}
{{- if .Values.escrow.existingSecret -}}{{- $_ := set $s "ESCROW_KEY_FILE" "/etc/finx-connector/escrow/key" -}}{{- end -}}
{{- if .Values.escrow.dir.enabled -}}{{- $_ := set $s "ESCROW_DIR" "/var/lib/finx-connector/escrow" -}}{{- end -}}
{{- if eq .Values.vault.auth "approle" -}}
{{- $_ := set $s "VAULT_ROLE_ID_FILE" "/etc/finx-connector/vault/role-id" -}}
{{- $_ := set $s "VAULT_SECRET_ID_FILE" "/etc/finx-connector/vault/secret-id" -}}
{{- end -}}
{{- $_ := set $s "FINX_CLIENT_SECRET_FILE" "/etc/finx-connector/finx/client-secret" -}}
{{- toYaml (merge (fromYaml (include "finx-connector.brokerSettings" (dict "root" . "client" .Values.nats.tls.clientSecret "credentials" .Values.nats.existingSecret "inbox" .Values.nats.inboxPrefix))) $s) -}}
{{- end -}}

{{/* What every command that speaks to the broker needs. Takes a dict of root, client, credentials and inbox. */}}
{{- define "finx-connector.brokerSettings" -}}
{{- $n := .root.Values.nats -}}
{{- $s := dict "NATS_URL" $n.url "NATS_INBOX_PREFIX" .inbox -}}
{{- if .credentials -}}{{- $_ := set $s (ternary "NATS_CREDS" "NATS_NKEY_SEED_FILE" (eq $n.auth "creds")) "/etc/finx-connector/nats/identity" -}}{{- end -}}
{{- if $n.tls.caSecret -}}{{- $_ := set $s "NATS_CA" "/etc/finx-connector/nats-ca/ca.crt" -}}{{- end -}}
{{- if .client -}}
{{- $_ := set $s "NATS_CERT" "/etc/finx-connector/nats-tls/tls.crt" -}}
{{- $_ := set $s "NATS_KEY" "/etc/finx-connector/nats-tls/tls.key" -}}
{{- end -}}
{{- range $name, $value := .root.Values.settings -}}
{{- if hasKey $s $name -}}{{- fail (printf "settings.%s: set it by its own value, see README.md" $name) -}}{{- end -}}
{{- $_ := set $s $name (toString $value) -}}
{{- end -}}
{{- toYaml $s -}}
{{- end -}}

{{/* Secrets as files: a list of volumes. Takes a dict of root, client, credentials and key. */}}
{{- define "finx-connector.brokerVolumes" -}}
{{- $n := .root.Values.nats -}}
{{- with .credentials }}
- name: nats-identity
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
    items: [{ key: {{ $.key | quote }}, path: identity }]
{{- end }}
{{- with $n.tls.caSecret }}
- name: nats-ca
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
    items: [{ key: {{ $n.tls.caKey | quote }}, path: ca.crt }]
{{- end }}
{{- with .client }}
- name: nats-tls
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
    items: [{ key: tls.crt, path: tls.crt }, { key: tls.key, path: tls.key }]
{{- end }}
{{- end -}}

{{- define "finx-connector.brokerMounts" -}}
{{- if .credentials }}
- { name: nats-identity, mountPath: /etc/finx-connector/nats, readOnly: true }
{{- end }}
{{- if .root.Values.nats.tls.caSecret }}
- { name: nats-ca, mountPath: /etc/finx-connector/nats-ca, readOnly: true }
{{- end }}
{{- if .client }}
- { name: nats-tls, mountPath: /etc/finx-connector/nats-tls, readOnly: true }
{{- end }}
{{- end -}}

{{- define "finx-connector.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "finx-connector.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end -}}
