{{- define "ld.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- define "ld.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "ld.name" .) .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name (include "ld.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- define "ld.selector" -}}
app.kubernetes.io/name: {{ include "ld.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "ld.labels" -}}
{{ include "ld.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}
{{- define "ld.account" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "ld.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}
{{- define "ld.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}
{{- define "ld.tlsSecret" -}}
{{- if .Values.tls.existingSecret }}{{ .Values.tls.existingSecret }}
{{- else if .Values.tls.certManager.enabled }}{{ include "ld.fullname" . }}-tls
{{- end }}
{{- end }}
{{- /* A port of the settings as a whole number; Helm reads numbers of values as floats. */}}
{{- define "ld.port" -}}
{{- int (toString (index .context.Values.settings .name | default .default)) }}
{{- end }}
{{- define "ld.http" -}}{{ include "ld.port" (dict "context" . "name" "IncomingRequestHTTPPort" "default" 5001) }}{{- end }}
{{- define "ld.https" -}}{{ include "ld.port" (dict "context" . "name" "IncomingRequestHTTPSPort" "default" 5002) }}{{- end }}
{{- define "ld.insecure" -}}{{ include "ld.port" (dict "context" . "name" "ControlChannelInsecureHTTP2Port" "default" 5003) }}{{- end }}
{{- define "ld.control" -}}{{ include "ld.port" (dict "context" . "name" "ControlChannelHTTP2Port" "default" 5004) }}{{- end }}
{{- define "ld.admin" -}}{{ include "ld.port" (dict "context" . "name" "AdminPort" "default" 5005) }}{{- end }}
{{- define "ld.hasAdmin" -}}{{ if ne (include "ld.admin" .) "-1" }}true{{ end }}{{- end }}
{{- define "ld.hasInsecure" -}}{{ if eq (toString .Values.settings.AllowInsecureControlChannel) "true" }}true{{ end }}{{- end }}
{{- /* A value as the router reads it: whole numbers without exponent. */}}
{{- define "ld.value" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ printf "%.0f" . }}{{ else }}{{ toString . }}{{ end }}
{{- end }}
