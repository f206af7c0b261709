{{- define "guardlock.labels" -}}
{{ include "guardlock.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "guardlock.selector" -}}
app.kubernetes.io/name: guardlock
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* A pod's name is a gateway's name, of at most 32 letters: what the chart makes leaves room for "-12". */}}
{{- define "guardlock.name" -}}
{{- if contains "guardlock" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-guardlock{{ end }}
{{- end }}

{{/* guardlock.yaml: what the values say, and what the chart decides. */}}
{{- define "guardlock.configuration" -}}
{{- $listen := dict "address" "0.0.0.0:9092" }}
{{- if gt (int .Values.service.brokers) 0 }}
{{- $_ := set $listen "first_node_port" (int .Values.service.firstNodePort) }}
{{- $_ := set $listen "node_ids" (printf "0-%d" (sub (int .Values.service.brokers) 1)) }}
{{- end }}
{{- if not (get (default dict (get .Values.configuration "listen")) "advertised_host") }}
{{- $_ := set $listen "advertised_host" (printf "%s.%s.svc" (include "guardlock.name" .) .Release.Namespace) }}
{{- end }}
{{- $chart := dict "node_variable" "POD_NAME" "data_dir" "/var/lib/guardlock" "listen" $listen }}
{{- toYaml (mergeOverwrite (deepCopy .Values.configuration) $chart) }}
{{- end }}
