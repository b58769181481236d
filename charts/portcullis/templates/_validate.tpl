{{/*
Values that contradict each other, or that would do nothing: all of them in one message. The schema refuses what is wrong
by itself.
*/}}
{{- define "portcullis.validate" -}}
{{- $problems := concat
    (include "portcullis.validatePorts" . | fromJsonArray)
    (include "portcullis.validateService" . | fromJsonArray)
    (include "portcullis.validateWorkload" . | fromJsonArray)
    (include "portcullis.validateMonitoring" . | fromJsonArray)
    (include "portcullis.validateRest" . | fromJsonArray) }}
{{- if $problems }}
{{- fail (printf "\n\n%s\n" (join "\n" $problems)) }}
{{- end }}
{{- end }}

{{- define "portcullis.validatePorts" -}}
{{- $problems := list }}
{{- $offset := int .Values.portOffset }}
{{- $admin := int .Values.admin.port }}
{{- if and .Values.hostNetwork (ne $offset 0) }}
{{- $problems = append $problems (printf "portOffset: %d with hostNetwork puts the listeners of 80 and 443 on the nodes' ports %d and %d, where no client looks; set portOffset: 0" $offset (add 80 $offset) (add 443 $offset)) }}
{{- end }}
{{- if and (not .Values.hostNetwork) (lt $offset 944) }}
{{- $problems = append $problems (printf "portOffset: %d makes the pods bind port %d, which needs a privilege that they do not have; 944 is the least (or hostNetwork: true)" $offset (add 80 $offset)) }}
{{- end }}
{{- range list 80 443 }}
{{- $port := add . $offset | int }}
{{- if eq $port $admin }}
{{- $problems = append $problems (printf "admin.port: %d is the port that the pods bind for listeners of port %d (portOffset: %d)" $admin . $offset) }}
{{- end }}
{{- if and $.Values.dedicated.enabled (ge $port 20000) (le $port 29999) }}
{{- $problems = append $problems (printf "portOffset: %d makes the pods bind port %d; 20000 to 29999 are kept for Gateways with addresses of their own" $offset $port) }}
{{- end }}
{{- end }}
{{- if and .Values.admin.address (not .Values.hostNetwork) }}
{{- $problems = append $problems "admin.address: only with hostNetwork; the kubelet finds a pod at its own address" }}
{{- end }}
{{- if and .Values.dedicated.enabled (ge $admin 20000) (le $admin 29999) }}
{{- $problems = append $problems (printf "admin.port: %d; 20000 to 29999 are kept for Gateways with addresses of their own" $admin) }}
{{- end }}
{{- $problems | toJson }}
{{- end }}

{{- define "portcullis.validateService" -}}
{{- $problems := list }}
{{- $service := .Values.service }}
{{- if ne $service.type "LoadBalancer" }}
{{- range list "loadBalancerIP" "loadBalancerClass" "loadBalancerSourceRanges" }}
{{- if get $service . }}
{{- $problems = append $problems (printf "service.%s does nothing for service.type: %s" . $service.type) }}
{{- end }}
{{- end }}
{{- end }}
{{- if eq $service.type "ClusterIP" }}
{{- if or $service.nodePorts.http $service.nodePorts.https }}
{{- $problems = append $problems "service.nodePorts does nothing for service.type: ClusterIP" }}
{{- end }}
{{- if and (eq $service.externalTrafficPolicy "Local") (not $service.externalIPs) }}
{{- $problems = append $problems "service.externalTrafficPolicy: Local does nothing for service.type: ClusterIP without service.externalIPs" }}
{{- end }}
{{- end }}
{{- if and $service.nodePorts.http (eq (int $service.nodePorts.http) (int $service.nodePorts.https)) }}
{{- $problems = append $problems "service.nodePorts: http and https cannot be the same" }}
{{- end }}
{{- if and (eq $service.ipFamilyPolicy "SingleStack") (gt (len $service.ipFamilies) 1) }}
{{- $problems = append $problems "service.ipFamilies: two families need service.ipFamilyPolicy: PreferDualStack or RequireDualStack" }}
{{- end }}
{{- $problems | toJson }}
{{- end }}

{{- define "portcullis.validateWorkload" -}}
{{- $problems := list }}
{{- $autoscaling := .Values.autoscaling }}
{{- if $autoscaling.enabled }}
{{- if eq .Values.kind "DaemonSet" }}
{{- $problems = append $problems "autoscaling.enabled: a DaemonSet has as many pods as there are nodes; use kind: Deployment" }}
{{- end }}
{{- if gt (int $autoscaling.minReplicas) (int $autoscaling.maxReplicas) }}
{{- $problems = append $problems (printf "autoscaling.minReplicas: %d is more than autoscaling.maxReplicas: %d" (int $autoscaling.minReplicas) (int $autoscaling.maxReplicas)) }}
{{- end }}
{{- if not (dig "requests" "cpu" "" .Values.resources) }}
{{- $problems = append $problems "autoscaling.enabled: needs resources.requests.cpu, which its percentage is of" }}
{{- end }}
{{- end }}
{{- $stop := add (include "portcullis.milliseconds" .Values.preStopDelay | int64) (include "portcullis.milliseconds" .Values.drainTimeout | int64) }}
{{- if le (mul 1000 (int64 .Values.terminationGracePeriodSeconds)) $stop }}
{{- $problems = append $problems (printf "terminationGracePeriodSeconds: %d would cut requests; preStopDelay: %s and drainTimeout: %s together need more than %d s" (int .Values.terminationGracePeriodSeconds) .Values.preStopDelay .Values.drainTimeout (div (add $stop 999) 1000)) }}
{{- end }}
{{- range list "app.kubernetes.io/name" "app.kubernetes.io/instance" }}
{{- if hasKey $.Values.podLabels . }}
{{- $problems = append $problems (printf "podLabels: %s is what the chart selects its pods by" .) }}
{{- end }}
{{- end }}
{{- $problems | toJson }}
{{- end }}

{{- define "portcullis.validateMonitoring" -}}
{{- $problems := list }}
{{- if .Values.serviceMonitor.enabled }}
{{- if not (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1/ServiceMonitor") }}
{{- $problems = append $problems "serviceMonitor.enabled: the API server knows no monitoring.coreos.com/v1 ServiceMonitor; install the CRDs of the Prometheus operator (helm template: --api-versions monitoring.coreos.com/v1/ServiceMonitor)" }}
{{- end }}
{{- if and .Values.hostNetwork (hasPrefix "127." (.Values.admin.address | default "127.0.0.1")) }}
{{- $problems = append $problems "serviceMonitor.enabled: with hostNetwork the admin port is at 127.0.0.1, where no Prometheus comes; set admin.address, and keep strangers from it" }}
{{- end }}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.admin) }}
{{- $problems = append $problems "serviceMonitor.enabled: networkPolicy.admin lets nobody reach the admin port; name the namespace of the Prometheus there" }}
{{- end }}
{{- end }}
{{- $problems | toJson }}
{{- end }}

{{- define "portcullis.validateRest" -}}
{{- $problems := list }}
{{- if not .Values.image.repository }}
{{- $problems = append $problems "image.repository: no image is published yet; build one with the Containerfile (docs/install.md) and name it here" }}
{{- end }}
{{- if and .Values.dedicated.enabled (not .Values.crds.install) (not (.Capabilities.APIVersions.Has "portcullis.dev/v1alpha1/GatewayParameters")) }}
{{- $problems = append $problems "dedicated.enabled: needs the kind GatewayParameters; crds.install: true brings it" }}
{{- end }}
{{- if eq .Values.gatewayClass.name .Values.gatewayClass.dedicatedName }}
{{- $problems = append $problems (printf "gatewayClass: name and dedicatedName cannot both be %s" .Values.gatewayClass.name) }}
{{- end }}
{{- if and .Values.hostNetwork .Values.networkPolicy.enabled }}
{{- $problems = append $problems "networkPolicy.enabled does nothing for pods with hostNetwork; protect the nodes instead" }}
{{- end }}
{{- if and .Values.defaultCertificate .Values.watchNamespaces }}
{{- $namespace := splitList "/" .Values.defaultCertificate | first }}
{{- if not (has $namespace .Values.watchNamespaces) }}
{{- $problems = append $problems (printf "defaultCertificate: namespace %s is not one of watchNamespaces, so its Secrets are not read" $namespace) }}
{{- end }}
{{- end }}
{{- $problems | toJson }}
{{- end }}
