{{/*
The configuration of one node. Nodes differ in their own addresses alone, and the program expands no variables, so that each has a
file of its own, found by the name of its pod. Takes the context and the node's ordinal. JSON strings are TOML strings.
*/}}
{{- define "payment-switch.nodeToml" -}}
{{- $values := .context.Values -}}
{{- $name := include "payment-switch.fullname" .context -}}
{{- $domain := include "payment-switch.peerDomain" .context -}}
{{- $own := printf "%s-%d.%s" $name (int .ordinal) $domain -}}
{{- $listen := $values.node.listenAddress -}}
{{- $peers := list -}}
{{- range $ordinal := until (int $values.replicas) -}}
{{- $peers = append $peers (printf "%s-%d.%s:%d" $name $ordinal $domain (int $values.ports.peer)) -}}
{{- end -}}
cluster = {{ $values.cluster | toJson }}
trust_domain = {{ $values.trustDomain | toJson }}
data_dir = "/var/lib/payment-switch/data"
disk_reserve_bytes = {{ $values.node.diskReserveBytes | int64 }}
bootstrap = {{ $values.bootstrap }}
initial_voters = {{ $values.initialVoters | int64 }}
peers = {{ $peers | toJson }}

[listen]
{{- range $door := list "gateway" "peer" "operator" "plain" }}
{{ $door }} = {{ printf "%s:%d" $listen (int (index $values.ports $door)) | toJson }}
{{- end }}

[advertise]
{{- range $door := list "gateway" "peer" "operator" }}
{{ $door }} = {{ printf "%s:%d" $own (int (index $values.ports $door)) | toJson }}
{{- end }}

[tls]
poll_ms = {{ $values.tls.pollMs | int64 }}
{{- range $plane := list "gateway" "peer" "operator" "link" }}
{{- $folder := printf "/etc/payment-switch/tls/%s" $plane }}

[tls.{{ $plane }}]
certificate = "{{ $folder }}/certificate.pem"
key = "{{ $folder }}/key.pem"
roots = "{{ $folder }}/roots.pem"
{{- with (index $values.tls $plane).revocationLists.keys }}
revocation_lists = [{{ range $index, $key := . }}{{ if $index }}, {{ end }}{{ printf "%s/revoked-%s" $folder $key | toJson }}{{ end }}]
{{- end }}
{{- end }}

[keys]
directory = "/etc/payment-switch/keys"
card_key_days = {{ $values.keys.cardKeyDays | int64 }}
sealing_key_days = {{ $values.keys.sealingKeyDays | int64 }}
sealing_overlap_days = {{ $values.keys.sealingOverlapDays | int64 }}

[consensus]
heartbeat_ms = {{ $values.node.consensus.heartbeatMs | int64 }}
election_min_ms = {{ $values.node.consensus.electionMinMs | int64 }}
election_max_ms = {{ $values.node.consensus.electionMaxMs | int64 }}
snapshot_log_bytes = {{ $values.node.consensus.snapshotLogBytes | int64 }}
snapshot_age_s = {{ $values.node.consensus.snapshotAgeS | int64 }}
keep_entries = {{ $values.node.consensus.keepEntries | int64 }}
keep_bytes = {{ $values.node.consensus.keepBytes | int64 }}

[log]
level = {{ $values.node.log.level | toJson }}
format = {{ $values.node.log.format | toJson }}

[traces]
{{- with $values.node.traces.endpoint }}
endpoint = {{ . | toJson }}
{{- end }}
ratio = {{ $values.node.traces.ratio | float64 | printf "%.6f" }}
{{- with $values.node.extraToml }}

{{ . | trim }}
{{- end }}
{{- end -}}

{{/* The files of a plane: certificate, roots of the other side, revocation lists; one volume, so that they change together. */}}
{{- define "payment-switch.tlsVolume" -}}
{{- $plane := index .context.Values.tls .plane -}}
{{- $secret := include "payment-switch.tlsSecret" . -}}
- name: tls-{{ .plane }}
  projected:
    # 0440: root's and the pod's group's, nobody else's.
    defaultMode: 288
    sources:
      - secret:
          name: {{ $secret }}
          items:
            - {key: tls.crt, path: certificate.pem}
            - {key: tls.key, path: key.pem}
            {{- if not $plane.roots }}
            - {key: ca.crt, path: roots.pem}
            {{- end }}
      {{- with $plane.roots }}
      {{- if .secretName }}
      - secret:
          name: {{ .secretName }}
          items:
            - {key: {{ .key | quote }}, path: roots.pem}
      {{- else }}
      - configMap:
          name: {{ .configMapName }}
          items:
            - {key: {{ .key | quote }}, path: roots.pem}
      {{- end }}
      {{- end }}
      {{- with $plane.revocationLists }}
      - configMap:
          name: {{ .configMapName }}
          items:
            {{- range .keys }}
            - {key: {{ . | quote }}, path: {{ printf "revoked-%s" . | quote }}}
            {{- end }}
      {{- end }}
{{- end -}}
