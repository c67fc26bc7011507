{{/* The pod of the connector, in a Deployment or a StatefulSet. */}}
{{- define "finx-connector.pod" -}}
{{- $broker := dict "root" . "client" .Values.nats.tls.clientSecret "credentials" .Values.nats.existingSecret "key" .Values.nats.key -}}
metadata:
  labels:
    {{- include "finx-connector.labels" (dict "root" . "component" "connector") | nindent 4 }}
    {{- with .Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    # Settings are read at the start, so a change of them is a roll-out.
    checksum/settings: {{ include "finx-connector.settings" . | sha256sum }}
    {{- if eq .Values.vault.auth "agent" }}
    vault.hashicorp.com/agent-inject: "true"
    vault.hashicorp.com/agent-inject-token: "true"
    vault.hashicorp.com/agent-service-account-token-volume-name: vault-identity
    vault.hashicorp.com/role: {{ .Values.vault.agent.role | quote }}
    {{- with .Values.vault.agent.annotations }}{{ toYaml . | nindent 4 }}{{ end }}
    {{- end }}
    {{- with .Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "finx-connector.serviceAccountName" . | quote }}
  # The connector never speaks to the API server. Its token for Vault is projected below, for Vault alone.
  automountServiceAccountToken: false
  enableServiceLinks: false
  # A drain may take DRAIN_TIMEOUT, the teardown a little more; a token that no store has taken yet is waited for until the grace ends.
  terminationGracePeriodSeconds: {{ add .Values.drainTimeoutSeconds .Values.extraGraceSeconds }}
  securityContext: {{- include "finx-connector.podSecurity" . | nindent 4 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ toYaml . | nindent 6 | trim }}
      labelSelector:
        matchLabels: {{- include "finx-connector.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: finx-connector
      image: {{ include "finx-connector.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve]
      envFrom:
        - configMapRef: { name: {{ include "finx-connector.fullname" . | quote }} }
      env:
        {{- with include "finx-connector.goMemLimit" . }}
        - { name: GOMEMLIMIT, value: {{ . | quote }} }
        {{- end }}
        {{- with .Values.extraEnv }}{{ toYaml . | nindent 8 }}{{ end }}
      ports:
        - { name: http, containerPort: {{ .Values.port }}, protocol: TCP }
      startupProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 2
        failureThreshold: 30
      # Never on /readyz: a restart brings no Vault back, and may lose a token that waits for it.
      livenessProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: { path: /readyz, port: http }
        periodSeconds: 10
        # The process itself gives a dependency four seconds.
        timeoutSeconds: 5
        failureThreshold: 2
      {{- with .Values.resources }}
      resources: {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext: {{- include "finx-connector.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - { name: finx, mountPath: /etc/finx-connector/finx, readOnly: true }
        {{- include "finx-connector.brokerMounts" $broker | indent 8 }}
        {{- if .Values.vault.caSecret }}
        - { name: vault-ca, mountPath: /etc/finx-connector/vault-ca, readOnly: true }
        {{- end }}
        {{- if eq .Values.vault.auth "kubernetes" }}
        - { name: vault-identity, mountPath: /var/run/secrets/vault, readOnly: true }
        {{- else if eq .Values.vault.auth "approle" }}
        - { name: vault-approle, mountPath: /etc/finx-connector/vault, readOnly: true }
        {{- end }}
        {{- if .Values.escrow.existingSecret }}
        - { name: escrow-key, mountPath: /etc/finx-connector/escrow, readOnly: true }
        {{- end }}
        {{- if .Values.escrow.dir.enabled }}
        - { name: escrow, mountPath: /var/lib/finx-connector }
        {{- end }}
        {{- with .Values.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
  volumes:
    - name: finx
      secret:
        secretName: {{ .Values.finx.existingSecret | quote }}
        defaultMode: 0440
        items: [{ key: {{ .Values.finx.clientSecretKey | quote }}, path: client-secret }]
    {{- include "finx-connector.brokerVolumes" $broker | indent 4 }}
    {{- if .Values.vault.caSecret }}
    - name: vault-ca
      secret:
        secretName: {{ .Values.vault.caSecret | quote }}
        defaultMode: 0440
        items: [{ key: {{ .Values.vault.caKey | quote }}, path: ca.crt }]
    {{- end }}
    {{- if ne .Values.vault.auth "approle" }}
    # Good at Vault and nowhere else. The kubelet replaces it before it ends, and the connector reads it again at each login.
    - name: vault-identity
      projected:
        defaultMode: 0440
        sources:
          - serviceAccountToken:
              path: token
              audience: {{ .Values.vault.kubernetes.audience | quote }}
              expirationSeconds: {{ .Values.vault.kubernetes.expirationSeconds }}
    {{- else }}
    - name: vault-approle
      secret:
        secretName: {{ .Values.vault.approle.existingSecret | quote }}
        defaultMode: 0440
        items:
          - { key: {{ .Values.vault.approle.roleIDKey | quote }}, path: role-id }
          - { key: {{ .Values.vault.approle.secretIDKey | quote }}, path: secret-id }
    {{- end }}
    {{- if .Values.escrow.existingSecret }}
    - name: escrow-key
      secret:
        secretName: {{ .Values.escrow.existingSecret | quote }}
        defaultMode: 0440
        items: [{ key: {{ .Values.escrow.key | quote }}, path: key }]
    {{- end }}
    {{- if and .Values.escrow.dir.enabled (not .Values.escrow.dir.persistent) }}
    # Outlives the container, not the pod. escrow.dir.persistent outlives both.
    - name: escrow
      emptyDir: { sizeLimit: {{ .Values.escrow.dir.sizeLimit }} }
    {{- end }}
    {{- with .Values.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end -}}
