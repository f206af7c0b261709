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
{{- $said := default dict (get .Values.configuration "listen") }}
{{- if not (or (get $said "advertised_host") (get $said "sni")) }}
{{- $_ := set $listen "advertised_host" (printf "%s.%s.svc" (include "guardlock.name" .) .Release.Namespace) }}
{{- end }}
{{- $chart := dict "node_variable" "POD_NAME" "data_dir" "/var/lib/guardlock" "listen" $listen }}
{{- if and .Values.maxConnectionAge (not (get (default dict (get .Values.configuration "limits")) "max_connection_age")) }}
{{- $_ := set $chart "limits" (dict "max_connection_age" .Values.maxConnectionAge) }}
{{- end }}
{{- toYaml (mergeOverwrite (deepCopy .Values.configuration) $chart) }}
{{- end }}

{{/* The port of the listener for operators, which must be one that the pod's neighbours can reach. */}}
{{- define "guardlock.opsPort" -}}
{{- $address := default "127.0.0.1:9099" (get (default dict (get .Values.configuration "ops")) "address") }}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\])" $address }}
{{- fail (printf "ops.enabled needs configuration.ops.address to be reachable, as 0.0.0.0:9099: it is %s" $address) }}
{{- end }}
{{- regexFind "[0-9]+$" $address }}
{{- end }}

{{- define "guardlock.opsScheme" -}}
{{- if get (default dict (get .Values.configuration "ops")) "tls" }}https{{ else }}http{{ end }}
{{- end }}
