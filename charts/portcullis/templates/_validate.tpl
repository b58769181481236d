{{/*
Reports conflicting values and values without effect in a single message. The schema rejects values that are invalid by
themselves.
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
{{- $problems = append $problems (printf "portOffset: %d with hostNetwork binds the listeners of ports 80 and 443 to ports %d and %d of the nodes; set portOffset: 0" $offset (add 80 $offset) (add 443 $offset)) }}
{{- end }}
{{- if and (not .Values.hostNetwork) (lt $offset 944) }}
{{- $problems = append $problems (printf "portOffset: %d makes the pods bind port %d, which requires privileges; use at least 944, or hostNetwork: true" $offset (add 80 $offset)) }}
{{- end }}
{{- range list 80 443 }}
{{- $port := add . $offset | int }}
{{- if eq $port $admin }}
{{- $problems = append $problems (printf "admin.port: %d is the port that the pods bind for listeners of port %d (portOffset: %d)" $admin . $offset) }}
{{- end }}
{{- if and $.Values.dedicated.enabled (ge $port 20000) (le $port 29999) }}
{{- $problems = append $problems (printf "portOffset: %d makes the pods bind port %d; 20000 to 29999 are reserved for Gateways with dedicated addresses" $offset $port) }}
{{- end }}
{{- end }}
{{- range $transport := list "tcp" "udp" }}
{{- range $port, $service := index $.Values $transport }}
{{- $bound := add $port $offset | int }}
{{- if and (eq $transport "tcp") (has $port (list "80" "443")) }}
{{- $problems = append $problems (printf "tcp: port %s is reserved for requests to Ingresses and Gateways" $port) }}
{{- end }}
{{- if and (eq $transport "tcp") (eq $bound $admin) }}
{{- $problems = append $problems (printf "tcp: the pods would bind port %d for port %s, which is admin.port" $admin $port) }}
{{- end }}
{{- if gt $bound 65535 }}
{{- $problems = append $problems (printf "%s: port %s exceeds 65535 with portOffset: %d" $transport $port $offset) }}
{{- end }}
{{- if and $.Values.dedicated.enabled (ge $bound 20000) (le $bound 29999) }}
{{- $problems = append $problems (printf "%s: the pods would bind port %d for port %s; 20000 to 29999 are reserved for Gateways with dedicated addresses" $transport $bound $port) }}
{{- end }}
{{- end }}
{{- range $port, $_ := get $.Values.service.nodePorts $transport }}
{{- if not (hasKey (index $.Values $transport) $port) }}
{{- $problems = append $problems (printf "service.nodePorts.%s: %s is not a port of %s" $transport $port $transport) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.admin.address (not .Values.hostNetwork) }}
{{- $problems = append $problems "admin.address: only with hostNetwork; otherwise the kubelet uses the address of the pod" }}
{{- end }}
{{- if and .Values.dedicated.enabled (ge $admin 20000) (le $admin 29999) }}
{{- $problems = append $problems (printf "admin.port: %d; 20000 to 29999 are reserved for Gateways with dedicated addresses" $admin) }}
{{- end }}
{{- $problems | toJson }}
{{- end }}

{{- define "portcullis.validateService" -}}
{{- $problems := list }}
{{- $service := .Values.service }}
{{- if ne $service.type "LoadBalancer" }}
{{- range list "loadBalancerIP" "loadBalancerClass" "loadBalancerSourceRanges" }}
{{- if get $service . }}
{{- $problems = append $problems (printf "service.%s has no effect for service.type: %s" . $service.type) }}
{{- end }}
{{- end }}
{{- end }}
{{- if eq $service.type "ClusterIP" }}
{{- if or $service.nodePorts.http $service.nodePorts.https }}
{{- $problems = append $problems "service.nodePorts has no effect for service.type: ClusterIP" }}
{{- end }}
{{- if and (eq $service.externalTrafficPolicy "Local") (not $service.externalIPs) }}
{{- $problems = append $problems "service.externalTrafficPolicy: Local has no effect for service.type: ClusterIP without service.externalIPs" }}
{{- end }}
{{- end }}
{{- if and $service.nodePorts.http (eq (int $service.nodePorts.http) (int $service.nodePorts.https)) }}
{{- $problems = append $problems "service.nodePorts: http and https cannot be the same" }}
{{- end }}
{{- if and (eq $service.ipFamilyPolicy "SingleStack") (gt (len $service.ipFamilies) 1) }}
{{- $problems = append $problems "service.ipFamilies: two families require service.ipFamilyPolicy: PreferDualStack or RequireDualStack" }}
{{- end }}
{{- $problems | toJson }}
{{- end }}

{{- define "portcullis.validateWorkload" -}}
{{- $problems := list }}
{{- $autoscaling := .Values.autoscaling }}
{{- if $autoscaling.enabled }}
{{- if eq .Values.kind "DaemonSet" }}
{{- $problems = append $problems "autoscaling.enabled: a DaemonSet cannot be scaled; use kind: Deployment" }}
{{- end }}
{{- if gt (int $autoscaling.minReplicas) (int $autoscaling.maxReplicas) }}
{{- $problems = append $problems (printf "autoscaling.minReplicas: %d is more than autoscaling.maxReplicas: %d" (int $autoscaling.minReplicas) (int $autoscaling.maxReplicas)) }}
{{- end }}
{{- if not (dig "requests" "cpu" "" .Values.resources) }}
{{- $problems = append $problems "autoscaling.enabled: requires resources.requests.cpu as the base of the utilization percentage" }}
{{- end }}
{{- end }}
{{- $drains := dict "drainTimeout" .Values.drainTimeout }}
{{- with get (.Values.settings | default dict) "worker-shutdown-timeout" | trim }}
{{- $_ := set $drains "settings.worker-shutdown-timeout" (regexReplaceAll "^([0-9]+)$" . "${1}s") }}
{{- end }}
{{- range $name, $drain := $drains }}
{{- $stop := add (include "portcullis.milliseconds" $.Values.preStopDelay | int64) (include "portcullis.milliseconds" $drain | int64) }}
{{- if le (mul 1000 (int64 $.Values.terminationGracePeriodSeconds)) $stop }}
{{- $problems = append $problems (printf "terminationGracePeriodSeconds: %d would abort requests; preStopDelay: %s and %s: %s require more than %d s" (int $.Values.terminationGracePeriodSeconds) $.Values.preStopDelay $name $drain (div (add $stop 999) 1000)) }}
{{- end }}
{{- end }}
{{- range list "app.kubernetes.io/name" "app.kubernetes.io/instance" }}
{{- if hasKey $.Values.podLabels . }}
{{- $problems = append $problems (printf "podLabels: %s is reserved: the chart uses it to select its pods" .) }}
{{- end }}
{{- end }}
{{- $problems | toJson }}
{{- end }}

{{- define "portcullis.validateMonitoring" -}}
{{- $problems := list }}
{{- if .Values.serviceMonitor.enabled }}
{{- if not (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1/ServiceMonitor") }}
{{- $problems = append $problems "serviceMonitor.enabled: the API server does not have monitoring.coreos.com/v1 ServiceMonitor; install the CRDs of the Prometheus operator (helm template: --api-versions monitoring.coreos.com/v1/ServiceMonitor)" }}
{{- end }}
{{- if and .Values.hostNetwork (hasPrefix "127." (.Values.admin.address | default "127.0.0.1")) }}
{{- $problems = append $problems "serviceMonitor.enabled: with hostNetwork the admin port listens on 127.0.0.1, which Prometheus cannot reach; set admin.address, and restrict access to it" }}
{{- end }}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.admin) }}
{{- $problems = append $problems "serviceMonitor.enabled: networkPolicy.admin allows no access to the admin port; add the namespace of Prometheus" }}
{{- end }}
{{- end }}
{{- $problems | toJson }}
{{- end }}

{{- define "portcullis.validateRest" -}}
{{- $problems := list }}
{{- if and .Values.ingressNginx.publishStatus (not .Values.ingressNginx.enabled) }}
{{- $problems = append $problems "ingressNginx.publishStatus does nothing without ingressNginx.enabled" }}
{{- end }}
{{- if and .Values.ingressNginx.enabled (eq .Values.ingressClass.controllerName "k8s.io/ingress-nginx") }}
{{- $problems = append $problems "ingressNginx.enabled: the classes of ingressClass.controllerName: k8s.io/ingress-nginx are this release's own, statuses included; choose one of the two" }}
{{- end }}
{{- if not .Values.image.repository }}
{{- $problems = append $problems "image.repository: no image is published yet; build one with the Containerfile (docs/install.md) and set this value" }}
{{- end }}
{{- if and .Values.dedicated.enabled (not .Values.crds.install) (not (.Capabilities.APIVersions.Has "portcullis.dev/v1alpha1/GatewayParameters")) }}
{{- $problems = append $problems "dedicated.enabled: requires the kind GatewayParameters; set crds.install: true" }}
{{- end }}
{{- if eq .Values.gatewayClass.name .Values.gatewayClass.dedicatedName }}
{{- $problems = append $problems (printf "gatewayClass: name and dedicatedName must differ, both are %s" .Values.gatewayClass.name) }}
{{- end }}
{{- if and .Values.hostNetwork .Values.networkPolicy.enabled }}
{{- $problems = append $problems "networkPolicy.enabled has no effect for pods with hostNetwork; protect the nodes instead" }}
{{- end }}
{{- if and .Values.publishService .Values.watchNamespaces }}
{{- $namespace := splitList "/" .Values.publishService | first }}
{{- if not (has $namespace .Values.watchNamespaces) }}
{{- $problems = append $problems (printf "publishService: namespace %s is not one of watchNamespaces, so its Services cannot be read" $namespace) }}
{{- end }}
{{- end }}
{{- if and .Values.defaultCertificate .Values.watchNamespaces }}
{{- $namespace := splitList "/" .Values.defaultCertificate | first }}
{{- if not (has $namespace .Values.watchNamespaces) }}
{{- $problems = append $problems (printf "defaultCertificate: namespace %s is not one of watchNamespaces, so its Secrets cannot be read" $namespace) }}
{{- end }}
{{- end }}
{{- $problems | toJson }}
{{- end }}
