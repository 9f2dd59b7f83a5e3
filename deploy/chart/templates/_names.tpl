{{/* There is one in a cluster, and its name is known to RBAC, Leases and dashboards: no release changes it. */}}
{{- define "ccm.name" -}}inspur-cloud-controller-manager{{- end }}

{{- define "ccm.labels" -}}
app.kubernetes.io/name: {{ include "ccm.name" . }}
{{- end }}

{{- define "ccm.metadata" -}}
name: {{ include "ccm.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "ccm.labels" . | nindent 2 }}
{{- end }}

{{/* The ConfigMap and the Secret of /etc/inspur; empty where there is none. */}}
{{- define "ccm.configMap" -}}
{{- .Values.cloudConfig.existingConfigMap | default (ternary "inspur-cloud-config" "" (not (empty .Values.cloudConfig.text))) }}
{{- end }}

{{- define "ccm.secret" -}}
{{- .Values.credentials.existingSecret | default (ternary "inspur-cloud-credentials" "" (not (empty .Values.credentials.files))) }}
{{- end }}

{{- define "ccm.check" -}}
{{- if and .Values.cloudConfig.text .Values.cloudConfig.existingConfigMap }}
{{- fail "cloudConfig.text and cloudConfig.existingConfigMap exclude each other" }}
{{- end }}
{{- if and .Values.credentials.files .Values.credentials.existingSecret }}
{{- fail "credentials.files and credentials.existingSecret exclude each other" }}
{{- end }}
{{- if not (or (include "ccm.configMap" .) .Values.credentials.existingSecret (hasKey .Values.credentials.files "cloud-config")) }}
{{- fail "there is no cloud config: give cloudConfig.text, cloudConfig.existingConfigMap, or the file cloud-config among the credentials" }}
{{- end }}
{{- end }}
