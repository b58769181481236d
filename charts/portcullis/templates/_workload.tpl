{{/* Quoted: an IPv6 address would be parsed as a mapping. */}}
{{- define "portcullis.args" -}}
- run
- {{ printf "--admin=%s" (include "portcullis.adminAddress" .) | quote }}
- --port-offset={{ .Values.portOffset }}
{{- range include "portcullis.binds" . | trim | splitList " " }}
- {{ printf "--bind=%s" . | quote }}
{{- end }}
- --service=$(POD_NAMESPACE)/{{ include "portcullis.name" . }}
- --lease=$(POD_NAMESPACE)/{{ include "portcullis.name" . }}
- --settings-configmap=$(POD_NAMESPACE)/{{ include "portcullis.name" . }}-settings
{{- range list "tcp" "udp" }}
{{- if index $.Values . }}
- --{{ . }}-services-configmap=$(POD_NAMESPACE)/{{ include "portcullis.name" $ }}-{{ . }}
{{- end }}
{{- end }}
- --ingress-class={{ .Values.ingressClass.name }}
{{- if ne .Values.gatewayClass.controllerName "portcullis.dev/gateway-controller" }}
- --gateway-controller={{ .Values.gatewayClass.controllerName }}
{{- end }}
{{- if ne .Values.ingressClass.controllerName "portcullis.dev/ingress-controller" }}
- --ingress-controller={{ .Values.ingressClass.controllerName }}
{{- end }}
{{- if .Values.ingressNginx.enabled }}
- --ingress-nginx
{{- end }}
{{- if .Values.ingressNginx.publishStatus }}
- --ingress-nginx-status
{{- end }}
{{- if .Values.ingressNginx.metrics }}
- --ingress-nginx-metrics
{{- end }}
{{- if ne .Values.fieldManager "portcullis" }}
- --field-manager={{ .Values.fieldManager }}
{{- end }}
- --pre-stop-delay={{ .Values.preStopDelay }}
- --drain-timeout={{ .Values.drainTimeout }}
- --termination-grace-period={{ int .Values.terminationGracePeriodSeconds }}s
- --log-format={{ .Values.log.format }}
{{- if not .Values.dedicated.enabled }}
- --dedicated-ports=none
{{- end }}
{{- if not .Values.service.addPorts }}
- --no-service-ports
{{- end }}
{{- if not .Values.readConfigMaps }}
- --no-config-maps
{{- end }}
{{- if not .Values.readPods }}
- --no-pods
{{- end }}
{{- if not .Values.sslRedirect }}
- --no-ssl-redirect
{{- end }}
{{- if .Values.strictAnnotations }}
- --strict-annotations
{{- end }}
{{- if ne .Values.externalNames "external" }}
- --external-names={{ .Values.externalNames }}
{{- end }}
{{- if .Values.localBackends }}
- --local-backends
{{- end }}
{{- if .Values.ingressClass.watchWithoutClass }}
- --watch-ingress-without-class
{{- end }}
{{- with .Values.publishService }}
- --publish-service={{ . }}
{{- end }}
{{- with .Values.annotationsPrefix }}
- --annotations-prefix={{ . }}
{{- end }}
{{- with .Values.defaultCertificate }}
- --default-certificate={{ . }}
{{- end }}
{{- with .Values.defaultBackendService }}
- --default-backend-service={{ . }}
{{- end }}
{{- range .Values.watchNamespaces }}
- --watch-namespace={{ . }}
{{- end }}
{{- with .Values.namespaceSelector }}
- {{ printf "--namespace-selector=%s" . | quote }}
{{- end }}
{{- with .Values.limits.streamIdleTimeout }}
- --stream-idle-timeout={{ . }}
{{- end }}
{{- with .Values.limits.tcpIdleTimeout }}
- --tcp-idle-timeout={{ . }}
{{- end }}
{{- with .Values.limits.udpIdleTimeout }}
- --udp-idle-timeout={{ . }}
{{- end }}
{{- if .Values.spool.sizeMiB }}
- --spool-dir=/spool
- --spool-size={{ int .Values.spool.sizeMiB }}Mi
{{- end }}
{{- with .Values.carriers }}
- --carriers={{ . }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* Scheduling: pods of a Deployment are spread, and a rollout counts only its own pods. */}}
{{- define "portcullis.placement" -}}
{{- $isDeployment := eq .Values.kind "Deployment" }}
{{- if .Values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- else if $isDeployment }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "portcullis.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- if .Values.affinity }}
affinity: {{- toYaml .Values.affinity | nindent 2 }}
{{- else if $isDeployment }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "portcullis.selector" . | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
