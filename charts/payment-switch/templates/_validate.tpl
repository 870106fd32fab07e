{{/* What the schema cannot say because it takes two values. Each refusal names both and says what to do. */}}
{{- define "payment-switch.validate" -}}
{{- $values := .Values -}}
{{- if gt (int $values.initialVoters) (int $values.replicas) -}}
{{- fail (printf "initialVoters = %d is more than replicas = %d: the cluster would never be complete; set initialVoters to the number of nodes it begins with" (int $values.initialVoters) (int $values.replicas)) -}}
{{- end -}}
{{- $least := add 80 (int $values.preStopSleepSeconds) -}}
{{- if lt (int $values.terminationGracePeriodSeconds) (int $least) -}}
{{- fail (printf "terminationGracePeriodSeconds = %d cuts a drain short: with preStopSleepSeconds = %d it needs %d or more" (int $values.terminationGracePeriodSeconds) (int $values.preStopSleepSeconds) (int $least)) -}}
{{- end -}}
{{- $consensus := $values.node.consensus -}}
{{- if or (le (int $consensus.electionMinMs) (mul 2 (int $consensus.heartbeatMs) | int)) (le (int $consensus.electionMaxMs) (int $consensus.electionMinMs)) -}}
{{- fail (printf "node.consensus: heartbeatMs = %d, electionMinMs = %d, electionMaxMs = %d: the silence must be longer than two heartbeats and its bounds apart; lower the first or raise the others" (int $consensus.heartbeatMs) (int $consensus.electionMinMs) (int $consensus.electionMaxMs)) -}}
{{- end -}}
{{- $ports := values $values.ports | uniq -}}
{{- if ne (len $ports) 4 -}}
{{- fail (printf "ports = %s: the four listeners need four different ports" ($values.ports | toJson)) -}}
{{- end -}}
{{- $configuration := include "payment-switch.nodeToml" (dict "context" . "ordinal" 0) | fromToml -}}
{{- with get $configuration "Error" -}}
{{- fail (printf "node.extraToml makes no configuration together with the rest: %s; give whole tables, and only such as the chart does not write" .) -}}
{{- end -}}
{{- $gateways := $values.service.gateways -}}
{{- if and $gateways.headless (ne $gateways.type "ClusterIP") -}}
{{- fail (printf "service.gateways: headless = true and type = %s: a load balancer needs an address; set type to ClusterIP, or headless to false" $gateways.type) -}}
{{- end -}}
{{- if and $gateways.loadBalancerSourceRanges (ne $gateways.type "LoadBalancer") -}}
{{- fail (printf "service.gateways: loadBalancerSourceRanges and type = %s: without a load balancer nobody enforces them; say in networkPolicy.gateways who may come" $gateways.type) -}}
{{- end -}}
{{- if and $values.updatePartition (ne $values.updateStrategy "RollingUpdate") -}}
{{- fail (printf "updatePartition = %d and updateStrategy = %s: a partition holds nodes back in a RollingUpdate alone; set it to 0" (int $values.updatePartition) $values.updateStrategy) -}}
{{- end -}}
{{- range $values.extraEnv -}}
{{- if eq .name "POD_NAME" -}}
{{- fail "extraEnv: POD_NAME tells a node which configuration is its own; give the variable another name" -}}
{{- end -}}
{{- end -}}
{{- if ne $values.tls.mode "certManager" -}}
{{- range $plane := list "gateway" "peer" "operator" "link" -}}
{{- if (index $values.tls $plane).issuer.name -}}
{{- fail (printf "tls.mode = %s and tls.%s.issuer: nobody asks that issuer; set tls.mode to certManager, or leave the issuer out" $values.tls.mode $plane) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- range $plane := list "gateway" "peer" "operator" "link" -}}
{{- if not (index $values.tls $plane).issuer.name -}}
{{- if or (ne $plane "link") (not $values.tls.link.secretName) -}}
{{- fail (printf "tls.mode = certManager needs tls.%s.issuer.name%s" $plane (eq $plane "link" | ternary ", or tls.link.secretName with the certificate that the card networks gave" "")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $issuers := list -}}
{{- range $plane := list "gateway" "peer" "operator" -}}
{{- $issuers = append $issuers ((index $values.tls $plane).issuer | toJson) -}}
{{- end -}}
{{- if and (ne (len ($issuers | uniq)) 3) (ne $values.environment "sandbox") -}}
{{- fail "tls: gateways, peers and operators need issuers of their own: with a shared one, who may sign a gateway's certificate could make itself a node; name three" -}}
{{- end -}}
{{- end -}}
{{- if and $values.sandbox.enabled (ne $values.environment "sandbox") -}}
{{- fail (printf "sandbox.enabled = true and environment = %s: simulated networks belong to play money only; set environment to sandbox" $values.environment) -}}
{{- end -}}
{{- if and $values.test.enabled (ne $values.environment "sandbox") -}}
{{- fail (printf "test.enabled = true and environment = %s: a test pays with play money only; set environment to sandbox" $values.environment) -}}
{{- end -}}
{{- if and $values.priorityClass.create (not $values.priorityClass.name) -}}
{{- fail "priorityClass.create = true needs priorityClass.name: say how the class shall be called" -}}
{{- end -}}
{{- end -}}
