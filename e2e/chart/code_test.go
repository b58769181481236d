package chart

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(repository + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A flag that `portcullis run` does not have would keep every pod from starting.
func TestFlagsAreThoseOfTheCommandLine(t *testing.T) {
	_, section, _ := strings.Cut(read(t, "docs/cli.md"), "## `portcullis run`")
	section, _, found := strings.Cut(section, "## `portcullis demo`")
	if !found {
		t.Fatal("docs/cli.md has no section of `portcullis run`")
	}
	forEachCase(t, func(t *testing.T, objects objects) {
		args := pods(t, objects).Spec.Containers[0].Args
		if args[0] != "run" {
			t.Errorf("the command is %q", args[0])
		}
		for _, arg := range args[1:] {
			flag, value, hasValue := strings.Cut(arg, "=")
			known := "`" + flag + "`"
			if hasValue {
				known = "`" + flag + " <"
			}
			if !strings.Contains(section, known) {
				t.Errorf("%s: `portcullis run` has no such flag (with a value: %v, %q)", arg, hasValue, value)
			}
		}
	})
}

var (
	version    = regexp.MustCompile(`(?m)^version = "(.+)"$`)
	appVersion = regexp.MustCompile(`(?m)^appVersion: (.+)$`)
)

// The tag of the image is the chart's appVersion where the values name none.
func TestAppVersionIsThatOfTheBinary(t *testing.T) {
	binary := version.FindStringSubmatch(read(t, "Cargo.toml"))
	chart := appVersion.FindStringSubmatch(read(t, "charts/portcullis/Chart.yaml"))
	if binary == nil || chart == nil || binary[1] != chart[1] {
		t.Errorf("the binary is %q, the chart says %q", binary, chart)
	}
}

// What the binary keeps quiet about by itself stays so at another level.
func TestALevelDoesNotTurnOnWhatIsOff(t *testing.T) {
	_, directives, found := strings.Cut(read(t, "src/logs.rs"), "const DEFAULT: &str = \"info,")
	directives, _, ends := strings.Cut(directives, "\"")
	if !found || !ends {
		t.Fatal("src/logs.rs has no default")
	}
	text, err := templateWith(t, "log: { level: debug }")
	if err != nil {
		t.Fatal(err)
	}
	variables := pods(t, decode(t, text)).Spec.Containers[0].Env
	at := slices.IndexFunc(variables, func(variable corev1.EnvVar) bool { return variable.Name == "RUST_LOG" })
	if at < 0 {
		t.Fatal("no RUST_LOG")
	}
	set := strings.Split(variables[at].Value, ",")
	for _, directive := range append(strings.Split(directives, ","), "debug") {
		if !slices.Contains(set, directive) {
			t.Errorf("RUST_LOG=%s lacks %s", variables[at].Value, directive)
		}
	}
}

var (
	inBackticks = regexp.MustCompile("`([^`]+)`")
	// Commands, and values to set.
	noMessage = regexp.MustCompile(`^(kubectl|helm) |^[a-zA-Z.]+: (true|false|Local)$`)
	// What differs from one message to the next.
	inserted = regexp.MustCompile(`\.\.\.|[0-9][0-9.:]*`)
	// A text that goes on in the next line of its source.
	lineEnd = regexp.MustCompile(`\\\n\s*`)
)

// Whoever searches the runbook for what the log or a status says has to find it.
func TestMessagesInTheRunbookAreThoseOfTheCode(t *testing.T) {
	var code strings.Builder
	for _, dir := range []string{"src", "controller/src", "proxy/src", "routing/src"} {
		err := filepath.WalkDir(repository+"/"+dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".rs" {
				return err
			}
			text, err := os.ReadFile(path)
			code.Write(lineEnd.ReplaceAll(text, nil))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, runbook, found := strings.Cut(read(t, "docs/operations.md"), "\n## By symptom\n")
	if !found {
		t.Fatal("docs/operations.md has no runbook")
	}
	messages := 0
	for _, match := range inBackticks.FindAllStringSubmatch(strings.ReplaceAll(runbook, "\n", " "), -1) {
		if message := match[1]; strings.Contains(message, " ") && !noMessage.MatchString(message) {
			messages++
			for _, part := range inserted.Split(message, -1) {
				if part = strings.Trim(part, " :;,"); !strings.Contains(code.String(), part) {
					t.Errorf("`%s`: %q is not in the code", message, part)
				}
			}
		}
	}
	if messages < 25 {
		t.Errorf("only %d messages found in the runbook", messages)
	}
}

// A kind that the controller reads, as it says itself: up to its plural what differs from the usual, then the next one.
var kindRow = regexp.MustCompile(`(?s)= Resource \{(.*?)\.\.\w+\([^)]*"([a-z]+)"\)`)

// What is watched beside the kinds: some of its Secrets, and which CRDs there are.
var alsoWatched = regexp.MustCompile(`plural: "([a-z]+)"`)

func TestMayReadWhatIsWatchedAndWriteItsStatus(t *testing.T) {
	rows := kindRow.FindAllStringSubmatch(read(t, "controller/src/kinds.rs"), -1)
	also := alsoWatched.FindAllStringSubmatch(read(t, "controller/src/source/cluster/kinds.rs"), -1)
	if len(rows) < 13 || len(also) < 2 {
		t.Fatalf("only %d kinds found in kinds.rs, and %d resources beside them", len(rows), len(also))
	}
	var watched, written []string
	for _, row := range rows {
		if !strings.Contains(row[1], "watched_versions: &[]") {
			watched = append(watched, row[2])
		}
		if strings.Contains(row[1], "StatusUse::Written(") {
			written = append(written, row[2])
		}
	}
	for _, resource := range also {
		watched = append(watched, resource[1])
	}
	if len(watched) < 13 || len(written) < 5 {
		t.Fatalf("only %v are watched, and statuses written of %v", watched, written)
	}
	forEachCase(t, func(t *testing.T, objects objects) {
		for namespace, rules := range permissions(objects) {
			for _, plural := range watched {
				for _, verb := range []string{"list", "watch"} {
					if !allowed(rules, plural, verb) {
						t.Errorf("namespace %q: may not %s %s", namespace, verb, plural)
					}
				}
			}
			for _, plural := range written {
				if !allowed(rules, plural+"/status", "update") {
					t.Errorf("namespace %q: may not update %s/status", namespace, plural)
				}
			}
		}
	})
}

// Everything that is not reading.
var writes = []string{
	"update gatewayclasses/status", "update gateways/status", "update httproutes/status", "update grpcroutes/status",
	"update ingresses/status",
	"create events", "patch events",
	"create leases", "update leases",
	"patch services",
	// For Gateways with addresses of their own.
	"create configmaps", "patch configmaps",
	"create services", "delete services",
	"create endpointslices", "patch endpointslices", "delete endpointslices",
}

func TestMayWriteNothingElse(t *testing.T) {
	forEachCase(t, func(t *testing.T, objects objects) {
		rules := []rbacv1.PolicyRule{}
		for _, role := range every[*rbacv1.ClusterRole](objects) {
			rules = append(rules, role.Rules...)
		}
		for _, role := range every[*rbacv1.Role](objects) {
			rules = append(rules, role.Rules...)
		}
		for _, rule := range rules {
			for _, verb := range rule.Verbs {
				for _, resource := range rule.Resources {
					reads := verb == "get" || verb == "list" || verb == "watch"
					if !reads && !slices.Contains(writes, verb+" "+resource) {
						t.Errorf("may %s %s", verb, resource)
					}
					// Our own, by name: a Lease of somebody else is nothing to write, and a Service only where others are made.
					made := slices.Contains(rule.Verbs, "create")
					own := verb == "patch" && resource == "services" && !made || verb == "update" && resource == "leases"
					if own && !slices.Equal(rule.ResourceNames, []string{"portcullis"}) {
						t.Errorf("may %s %s called %q", verb, resource, rule.ResourceNames)
					}
				}
			}
			for _, text := range slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs) {
				if strings.Contains(text, "*") {
					t.Errorf("%q in %v", text, rule)
				}
			}
		}
	})
}

// The Service's ports are changed only where the values let the controller do it.
func TestMayPatchTheServiceOnlyToAddPorts(t *testing.T) {
	forEachCase(t, func(t *testing.T, objects objects) {
		leavesPorts := slices.Contains(pods(t, objects).Spec.Containers[0].Args, "--no-service-ports")
		var rules []rbacv1.PolicyRule
		for _, role := range every[*rbacv1.Role](objects) {
			// In watched namespaces Services are made for Gateways.
			if role.Namespace == "" {
				rules = append(rules, role.Rules...)
			}
		}
		if may := allowed(rules, "services", "patch"); may == leavesPorts {
			t.Errorf("--no-service-ports: %v, and may patch the Service: %v", leavesPorts, may)
		}
	})
}

// permissions are the rules that hold in each watched namespace; "" is all of them.
func permissions(objects objects) map[string][]rbacv1.PolicyRule {
	var everywhere []rbacv1.PolicyRule
	for _, role := range every[*rbacv1.ClusterRole](objects) {
		everywhere = append(everywhere, role.Rules...)
	}
	in := map[string][]rbacv1.PolicyRule{}
	for _, role := range every[*rbacv1.Role](objects) {
		// A role without a namespace is in that of the release, and for the chart's own objects.
		if role.Namespace != "" {
			in[role.Namespace] = append(role.Rules, everywhere...)
		}
	}
	if len(in) == 0 {
		in[""] = everywhere
	}
	return in
}

// Whether a rule allows it for every object of the kind.
func allowed(rules []rbacv1.PolicyRule, resource, verb string) bool {
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
		unnamed := len(rule.ResourceNames) == 0 || slices.Equal(rule.ResourceNames, []string{"portcullis"})
		return unnamed && slices.Contains(rule.Resources, resource) && slices.Contains(rule.Verbs, verb)
	})
}
