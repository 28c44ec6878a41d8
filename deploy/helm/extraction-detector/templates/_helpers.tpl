{{/* The chart's name is also the job that the alerting rules go by, so it cannot be overridden. */}}
{{- define "detector.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 48 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 48 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "detector.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "detector.labels" -}}
{{ include "detector.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Arguments: root, user (of values), args. */}}
{{- define "detector.container" -}}
{{- $values := .root.Values -}}
image: {{ $values.image.repository }}{{ if $values.image.digest }}@{{ $values.image.digest }}{{ else }}:{{ $values.image.tag | default .root.Chart.AppVersion }}{{ end }}
imagePullPolicy: {{ $values.image.pullPolicy }}
args: {{ toJson .args }}
env:
  - { name: EXTRACTION_CONFIG, value: /etc/extraction-detector/detector.toml }
  - { name: EXTRACTION_HASH_KEY_FILE, value: /etc/extraction-detector-hash-key/key }
  - { name: EXTRACTION_APP_ID, value: {{ $values.appId | quote }} }
  - { name: EXTRACTION_KAFKA__BOOTSTRAP_SERVERS, value: {{ $values.kafka.bootstrapServers | quote }} }
  - { name: EXTRACTION_TOPICS__REQUESTS, value: {{ $values.topics.requests | quote }} }
  - { name: EXTRACTION_TOPICS__OBSERVATIONS, value: {{ $values.topics.observations | quote }} }
  - { name: EXTRACTION_TOPICS__PARTITIONS, value: {{ $values.topics.partitions | quote }} }
  - { name: EXTRACTION_TOPICS__REPLICATION_FACTOR, value: {{ $values.topics.replicationFactor | quote }} }
  {{- with $values.kafka.protocol }}
  - { name: EXTRACTION_KAFKA__PROPERTIES__SECURITY_PROTOCOL, value: {{ . }} }
  {{- end }}
  {{- if $values.kafka.ca }}
  - { name: EXTRACTION_KAFKA__PROPERTIES__SSL_CA_LOCATION, value: /etc/kafka-ca/ca.crt }
  {{- end }}
  {{- with .user }}
  - { name: EXTRACTION_KAFKA__PROPERTIES__SASL_MECHANISMS, value: {{ $values.kafka.mechanism }} }
  - { name: EXTRACTION_KAFKA__PROPERTIES__SASL_USERNAME, value: {{ .name | quote }} }
  - { name: EXTRACTION_KAFKA__PROPERTIES__SASL_PASSWORD_FILE, value: /etc/kafka-user/password }
  {{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
volumeMounts:
  - { name: config, mountPath: /etc/extraction-detector, readOnly: true }
  - { name: hash-key, mountPath: /etc/extraction-detector-hash-key, readOnly: true }
  {{- if $values.kafka.ca }}
  - { name: kafka-ca, mountPath: /etc/kafka-ca, readOnly: true }
  {{- end }}
  {{- if .user }}
  - { name: kafka-user, mountPath: /etc/kafka-user, readOnly: true }
  {{- end }}
  - { name: tmp, mountPath: /tmp }
{{- end }}

{{/* Arguments: root, user. */}}
{{- define "detector.pod" -}}
{{- $values := .root.Values -}}
serviceAccountName: {{ include "detector.fullname" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: { type: RuntimeDefault }
{{- with $values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with $values.affinity }}
affinity: {{ toJson . }}
{{- end }}
volumes:
  - name: config
    configMap: { name: {{ include "detector.fullname" .root }} }
  - name: hash-key
    secret:
      secretName: {{ $values.hashKey.existingSecret }}
      defaultMode: 0440
      items: [{ key: {{ $values.hashKey.key | quote }}, path: key }]
  {{- with $values.kafka.ca }}
  - name: kafka-ca
    secret:
      secretName: {{ .existingSecret }}
      items: [{ key: {{ .key | quote }}, path: ca.crt }]
  {{- end }}
  {{- with .user }}
  - name: kafka-user
    secret:
      secretName: {{ .existingSecret }}
      defaultMode: 0440
      items: [{ key: {{ .key | quote }}, path: password }]
  {{- end }}
  - name: tmp
    emptyDir: { sizeLimit: 64Mi }
{{- end }}
