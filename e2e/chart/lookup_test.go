package chart

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiversion "k8s.io/apimachinery/pkg/version"
)

const definition = "gatewayparameters.portcullis.dev"

// The kinds that the chart makes by default, by group: helm looks them up.
var served = map[string]map[string]string{
	"":                     {"ConfigMap": "configmaps", "Service": "services", "ServiceAccount": "serviceaccounts"},
	"apps":                 {"Deployment": "deployments"},
	"policy":               {"PodDisruptionBudget": "poddisruptionbudgets"},
	"networking.k8s.io":    {"IngressClass": "ingressclasses", "NetworkPolicy": "networkpolicies"},
	"coordination.k8s.io":  {"Lease": "leases"},
	"apiextensions.k8s.io": {"CustomResourceDefinition": "customresourcedefinitions"},
	"rbac.authorization.k8s.io": {
		"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings", "Role": "roles", "RoleBinding": "rolebindings",
	},
}

// clusterWith is an API server that knows CRDs alone, and has ours if it has annotations. It returns its kubeconfig.
func clusterWith(t *testing.T, annotations map[string]string) string {
	t.Helper()
	mux := http.NewServeMux()
	answer := func(path string, status int, object any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			if err := json.NewEncoder(w).Encode(object); err != nil {
				t.Error(err)
			}
		})
	}
	answer("/version", http.StatusOK, apiversion.Info{Major: "1", Minor: "34", GitVersion: "v1.34.0"})
	groups := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroupList"}}
	for group, kinds := range served {
		at := metav1.GroupVersionForDiscovery{GroupVersion: group + "/v1", Version: "v1"}
		list := metav1.APIResourceList{
			TypeMeta:     metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"},
			GroupVersion: at.GroupVersion,
		}
		for kind, plural := range kinds {
			resource := metav1.APIResource{Name: plural, Kind: kind, Namespaced: true, Verbs: metav1.Verbs{"get", "list"}}
			list.APIResources = append(list.APIResources, resource)
		}
		if group == "" {
			list.GroupVersion = "v1"
			answer("/api", http.StatusOK, metav1.APIVersions{Versions: []string{"v1"}})
			answer("/api/v1", http.StatusOK, list)
			continue
		}
		answer("/apis/"+at.GroupVersion, http.StatusOK, list)
		groups.Groups = append(groups.Groups, metav1.APIGroup{
			Name: group, Versions: []metav1.GroupVersionForDiscovery{at}, PreferredVersion: at,
		})
	}
	answer("/apis", http.StatusOK, groups)
	path := "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + definition
	if annotations == nil {
		answer(path, http.StatusNotFound, metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
			Status:   metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound,
		})
	} else {
		answer(path, http.StatusOK, CustomResourceDefinition{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"},
			ObjectMeta: metav1.ObjectMeta{Name: definition, Annotations: annotations},
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	config := filepath.Join(t.TempDir(), "config")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{ name: test, cluster: { server: %q } }]
contexts: [{ name: test, context: { cluster: test } }]
current-context: test
`, server.URL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config
}

// Of two releases, or a release and somebody with kubectl, one owns the CRD; the other must not take it over, nor fail.
func TestTheDefinitionOfAnotherReleaseIsLeftAlone(t *testing.T) {
	owner := func(namespace, name string) map[string]string {
		return map[string]string{"meta.helm.sh/release-namespace": namespace, "meta.helm.sh/release-name": name}
	}
	for name, c := range map[string]struct {
		annotations map[string]string
		installs    bool
	}{
		"there is none":                  {nil, true},
		"its own":                        {owner("edge", "portcullis"), true},
		"of another release":             {owner("edge", "internal"), false},
		"of its name, elsewhere":         {owner("internal", "portcullis"), false},
		"of nobody, as with kubectl":     {map[string]string{}, false},
		"of nobody, with an annotation":  {map[string]string{"a": "b"}, false},
		"of a release without namespace": {map[string]string{"meta.helm.sh/release-name": "portcullis"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := clusterWith(t, c.annotations)
			// Without `--dry-run=server` helm answers `lookup` with nothing.
			text, err := template(t, chartDir, "--dry-run=server", "--disable-openapi-validation", "--kubeconfig", config, "--set", "image.repository=example.com/portcullis")
			if err != nil {
				t.Fatal(err)
			}
			if has := len(every[*CustomResourceDefinition](decode(t, text))) == 1; has != c.installs {
				t.Errorf("rendered: %v, should be %v", has, c.installs)
			}
		})
	}
}
