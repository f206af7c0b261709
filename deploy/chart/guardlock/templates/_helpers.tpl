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
{{- $audit := dict }}
{{- $saidAudit := default dict (get .Values.configuration "audit") }}
{{- if .Values.manifest.configMap }}
{{- if get (default dict (get $saidAudit "manifest")) "file" }}
{{- fail "manifest.configMap and configuration.audit.manifest.file are two manifests: leave one out" }}
{{- end }}
{{- $_ := set $audit "manifest" (dict "file" (printf "manifest/%s" .Values.manifest.file)) }}
{{- end }}
{{- if .Values.reconcile.every }}
{{- $logs := default list (get (default dict (get $saidAudit "reconcile")) "logs") }}
{{- range $pod := fromJsonArray (include "guardlock.gateways" .) }}
{{- $logs = append $logs (printf "/var/lib/guardlock-gateways/%s/audit" $pod) }}
{{- end }}
{{- $_ := set $audit "reconcile" (dict "every" .Values.reconcile.every "logs" $logs) }}
{{- end }}
{{- if $audit }}
{{- $_ := set $chart "audit" $audit }}
{{- end }}
{{- toYaml (mergeOverwrite (deepCopy .Values.configuration) $chart) }}
{{- end }}

{{/* The pods whose volumes each gateway mounts to look into the logs of all: none where it is alone, or nobody looks. */}}
{{- define "guardlock.gateways" -}}
{{- $all := list }}
{{- $count := max (int .Values.reconcile.gateways) (int .Values.replicas) }}
{{- if and .Values.reconcile.every .Values.autoscaling.enabled }}
{{- fail "reconcile needs the logs of all gateways, and autoscaling makes more of them that no configuration names: leave one out" }}
{{- end }}
{{- if and .Values.reconcile.every (gt $count 1) }}
{{- if ne .Values.storage.accessMode "ReadWriteMany" }}
{{- fail (printf "reconcile.every with %d gateways needs storage.accessMode ReadWriteMany: each looks into the logs of all others" $count) }}
{{- end }}
{{- range $i := until (int $count) }}
{{- $all = append $all (printf "%s-%d" (include "guardlock.name" $) $i) }}
{{- end }}
{{- end }}
{{- toJson $all }}
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
