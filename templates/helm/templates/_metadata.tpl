{{- define "model.metadata" -}}
name: {{ .Values.name | quote }}
{{- with .Values.namespace }}
namespace: {{ . | quote }}
{{- end }}
labels:
  {{- toYaml .Values.labels | nindent 2 }}
annotations:
  {{- toYaml .Values.annotations | nindent 2 }}
{{- end -}}
