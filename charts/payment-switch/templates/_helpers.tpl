{{/* Name of objects. Suffixes and the pods' revision label must fit behind it. */}}
{{- define "payment-switch.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What selects pods; never changes, for a StatefulSet's selector cannot. Takes the context and a component. */}}
{{- define "payment-switch.selector" -}}
app.kubernetes.io/name: {{ .context.Chart.Name }}
app.kubernetes.io/instance: {{ .context.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of an object. Takes the context and a component. */}}
{{- define "payment-switch.labels" -}}
{{ include "payment-switch.selector" . }}
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .context.Chart.Name .context.Chart.Version }}
{{- with .context.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The image that `image` names, by digest where there is one. Takes the context and the image. */}}
{{- define "payment-switch.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .context.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Domain of the nodes' own names, which stay with them wherever they run. */}}
{{- define "payment-switch.peerDomain" -}}
{{- printf "%s-peers.%s.svc.%s" (include "payment-switch.fullname" .) .Release.Namespace .Values.clusterDomain -}}
{{- end -}}

{{/* Every node's door for operators: where one is away, the next is asked. */}}
{{- define "payment-switch.operatorDoors" -}}
{{- $name := include "payment-switch.fullname" . -}}
{{- $domain := include "payment-switch.peerDomain" . -}}
{{- $doors := list -}}
{{- range $ordinal := until (int .Values.replicas) -}}
{{- $doors = append $doors (printf "%s-%d.%s:%d" $name $ordinal $domain (int $.Values.ports.operator)) -}}
{{- end -}}
{{- join "," $doors -}}
{{- end -}}

{{/* Secret with the certificate of a plane. Takes the context and the plane. */}}
{{- define "payment-switch.tlsSecret" -}}
{{- $plane := index .context.Values.tls .plane -}}
{{- default (printf "%s-%s-tls" (include "payment-switch.fullname" .context) .plane) $plane.secretName -}}
{{- end -}}

{{/* Secret with the keys for card data. */}}
{{- define "payment-switch.keysSecret" -}}
{{- default (printf "%s-keys" (include "payment-switch.fullname" .)) .Values.keys.secretName -}}
{{- end -}}

{{- define "payment-switch.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "payment-switch.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What holds for the pods of nodes and of the sandbox alike: no right, no root, no way to write but to the disk. */}}
{{- define "payment-switch.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.securityContext.runAsUser | int64 }}
  runAsGroup: {{ .Values.securityContext.runAsGroup | int64 }}
  fsGroup: {{ .Values.securityContext.fsGroup | int64 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "payment-switch.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Something of the values as YAML, after the templates in its strings. Takes the context and the value. */}}
{{- define "payment-switch.templated" -}}
{{- tpl (toYaml .value) .context -}}
{{- end -}}

{{/* The peers of a rule of the NetworkPolicy: those of the values, or pods that carry a label. Takes peers and label. */}}
{{- define "payment-switch.networkPeers" -}}
{{- if .peers -}}
{{ toYaml .peers }}
{{- else -}}
- podSelector:
    matchLabels:
      {{ .label }}: "true"
{{- end -}}
{{- end -}}
