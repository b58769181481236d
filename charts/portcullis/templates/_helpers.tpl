{{/* Name of every object of a release. */}}
{{- define "portcullis.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "portcullis.metricsName" -}}
{{ include "portcullis.name" . | trunc 55 | trimSuffix "-" }}-metrics
{{- end }}

{{/* Name of cluster-scoped objects, and of objects outside the release's namespace. */}}
{{- define "portcullis.clusterName" -}}
{{ printf "%s-%s" .Release.Namespace (include "portcullis.name" .) }}
{{- end }}

{{- define "portcullis.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "portcullis.labels" -}}
{{ include "portcullis.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "portcullis.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "portcullis.name" .) }}
{{- end }}

{{- define "portcullis.subject" -}}
- kind: ServiceAccount
  name: {{ include "portcullis.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Whether the Gateway API CRDs are installed. */}}
{{- define "portcullis.hasGatewayAPI" -}}
{{- if .Capabilities.APIVersions.Has "gateway.networking.k8s.io/v1/GatewayClass" }}true{{ end }}
{{- end }}

{{/* The addresses that listeners bind, by IP family of the Service. */}}
{{- define "portcullis.binds" -}}
{{- $families := .Values.service.ipFamilies }}
{{- if ne .Values.service.ipFamilyPolicy "SingleStack" }}{{ $families = list "IPv4" "IPv6" }}{{ end }}
{{- if or (not $families) (has "IPv4" $families) }}0.0.0.0{{ end }}
{{- if has "IPv6" $families }} ::{{ end }}
{{- end }}

{{/* Address of the admin port, for the flag. `[::]` includes IPv4. */}}
{{- define "portcullis.adminAddress" -}}
{{- $address := ternary "::" "0.0.0.0" (contains "::" (include "portcullis.binds" .)) }}
{{- if .Values.hostNetwork }}{{ $address = .Values.admin.address | default "127.0.0.1" }}{{ end }}
{{- if contains ":" $address }}{{ $address = printf "[%s]" $address }}{{ end }}
{{- printf "%s:%d" $address (int .Values.admin.port) }}
{{- end }}

{{/* Address for the kubelet's health checks: the pod's address, unless the admin port listens on a specific address. */}}
{{- define "portcullis.probe" -}}
port: admin
{{- if .Values.hostNetwork }}
{{- $address := .Values.admin.address | default "127.0.0.1" }}
{{- if not (has $address (list "0.0.0.0" "::")) }}
host: {{ $address | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* A duration such as 1m30s in milliseconds. */}}
{{- define "portcullis.milliseconds" -}}
{{- $total := 0 }}
{{- $units := dict "h" 3600000 "m" 60000 "s" 1000 "ms" 1 }}
{{- range regexFindAll "[0-9]+(h|ms|m|s)" . -1 }}
{{- $total = add $total (mul (regexFind "[0-9]+" . | atoi) (get $units (regexFind "[a-z]+" .))) }}
{{- end }}
{{- $total }}
{{- end }}

{{/* Objects to read, and statuses to write, in each watched namespace. */}}
{{- define "portcullis.namespacedRules" -}}
# With dedicated.enabled, Gateways with dedicated addresses get a Service, and EndpointSlices for our pods.
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch{{ if .Values.dedicated.enabled }}, create, patch, delete{{ end }}]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch{{ if .Values.dedicated.enabled }}, create, patch, delete{{ end }}]
- apiGroups: [""]
  resources: [secrets{{ if .Values.readConfigMaps }}, configmaps{{ end }}]
  verbs: [get, list, watch]
{{- if .Values.readPods }}
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- end }}
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways, listenersets, httproutes, grpcroutes, tlsroutes, tcproutes, udproutes, backendtlspolicies, referencegrants]
  verbs: [list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways/status, listenersets/status, httproutes/status, grpcroutes/status, tlsroutes/status, tcproutes/status, udproutes/status, backendtlspolicies/status]
  verbs: [update]
- apiGroups: [gateway.networking.x-k8s.io]
  resources: [xbackends]
  verbs: [list, watch]
- apiGroups: [gateway.networking.x-k8s.io]
  resources: [xbackends/status]
  verbs: [update]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
