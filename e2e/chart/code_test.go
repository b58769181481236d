package chart

import (
	"io/fs"
	"maps"
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
	_, runbook, found := strings.Cut(read(t, "docs/operations.md"), "\n## Troubleshooting\n")
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

// What is watched beside the kinds: which CRDs there are.
var alsoWatched = regexp.MustCompile(`plural: "([a-z]+)"`)

func TestMayReadWhatIsWatchedAndWriteItsStatus(t *testing.T) {
	rows := kindRow.FindAllStringSubmatch(read(t, "controller/src/kinds.rs"), -1)
	also := alsoWatched.FindAllStringSubmatch(read(t, "controller/src/source/cluster/kinds.rs"), -1)
	if len(rows) < 13 || len(also) < 1 {
		t.Fatalf("only %d kinds found in kinds.rs, and %d resources beside them", len(rows), len(also))
	}
	var watched, written, fetched []string
	for _, row := range rows {
		if strings.Contains(row[1], "on_demand: &[") {
			fetched = append(fetched, row[2])
		} else if !strings.Contains(row[1], "watched_versions: &[]") {
			watched = append(watched, row[2])
		}
		if strings.Contains(row[1], "StatusUse::Written(") {
			written = append(written, row[2])
		}
	}
	for _, resource := range also {
		watched = append(watched, resource[1])
	}
	watched = append(watched, fetched...)
	if len(watched) < 13 || len(written) < 5 || len(fetched) < 1 {
		t.Fatalf("only %v are watched, %v fetched, and statuses written of %v", watched, fetched, written)
	}
	forEachCase(t, func(t *testing.T, objects objects) {
		args := pods(t, objects).Spec.Containers[0].Args
		leavesOut := map[string]string{"configmaps": "--no-config-maps", "pods": "--no-pods"}
		isRead := func(plural string) bool { return !slices.Contains(args, leavesOut[plural]) }
		for namespace, rules := range permissions(objects) {
			for _, plural := range slices.DeleteFunc(slices.Clone(watched), func(plural string) bool { return !isRead(plural) }) {
				for _, verb := range []string{"list", "watch"} {
					if !allowed(rules, plural, verb) {
						t.Errorf("namespace %q: may not %s %s", namespace, verb, plural)
					}
				}
			}
			for _, plural := range fetched {
				if allowed(rules, plural, "get") != isRead(plural) {
					t.Errorf("namespace %q: may get %s: %v", namespace, plural, !isRead(plural))
				}
			}
			for _, plural := range written {
				verb := "update"
				if plural == "ingresses" {
					verb = "patch" // It has no CRD.
				}
				if !allowed(rules, plural+"/status", verb) {
					t.Errorf("namespace %q: may not %s %s/status", namespace, verb, plural)
				}
			}
		}
	})
}

// A permission is one verb on one resource, of any name or of some.
type permission struct{ resource, names, verb string }

// A row of the table in docs/install.md.
var permissionRow = regexp.MustCompile("(?m)^\\| (`[^|]+) \\| ([a-z, ]+) \\| (cluster|each watched namespace|its own namespace) \\|([^|]*)\\|$")

// What the guide says that the release may do, by where: all of it, and nothing else.
func documented(t *testing.T, holds map[string]bool) map[string]map[permission]bool {
	t.Helper()
	rows := permissionRow.FindAllStringSubmatch(read(t, "docs/install.md"), -1)
	if len(rows) < 10 {
		t.Fatalf("only %d rows of permissions found in docs/install.md", len(rows))
	}
	may := map[string]map[permission]bool{}
	for _, row := range rows {
		applies := true
		for _, value := range inBackticks.FindAllStringSubmatch(row[4], -1) {
			held, known := holds[value[1]]
			if !known {
				t.Fatalf("docs/install.md: %q is no value that a permission depends on", value[1])
			}
			applies = applies && held
		}
		if !applies {
			continue
		}
		resources, called, _ := strings.Cut(row[1], " named ")
		var names []string
		for _, name := range inBackticks.FindAllStringSubmatch(called, -1) {
			names = append(names, name[1])
		}
		if may[row[3]] == nil {
			may[row[3]] = map[permission]bool{}
		}
		for _, resource := range inBackticks.FindAllStringSubmatch(resources, -1) {
			for _, verb := range strings.Split(row[2], ", ") {
				may[row[3]][permission{resource[1], strings.Join(names, " "), verb}] = true
			}
		}
	}
	return may
}

func granted(rules []rbacv1.PolicyRule) map[permission]bool {
	may := map[permission]bool{}
	for _, rule := range rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				may[permission{resource, strings.Join(rule.ResourceNames, " "), verb}] = true
			}
		}
	}
	return may
}

func compareRules(t *testing.T, where string, granted, documented map[permission]bool) {
	t.Helper()
	for permission := range granted {
		if !documented[permission] {
			t.Errorf("%s: the chart gives %+v, of which docs/install.md says nothing", where, permission)
		}
	}
	for permission := range documented {
		if !granted[permission] {
			t.Errorf("%s: docs/install.md says %+v, which the chart does not give", where, permission)
		}
	}
}

// The guide, the chart and the flags that the code is started with say the same.
func TestMayDoWhatTheGuideSaysAndNothingElse(t *testing.T) {
	forEachCase(t, func(t *testing.T, objects objects) {
		args := pods(t, objects).Spec.Containers[0].Args
		has := func(prefix string) bool {
			return slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, prefix) })
		}
		may := documented(t, map[string]bool{
			"dedicated.enabled": !has("--dedicated-ports=none"),
			"service.addPorts":  !has("--no-service-ports"),
			"readConfigMaps":    !has("--no-config-maps"),
			"readPods":          !has("--no-pods"),
			"watchNamespaces":   has("--watch-namespace="),
			"tcp":               has("--tcp-services-configmap="),
			"udp":               has("--udp-services-configmap="),
		})
		inCluster := maps.Clone(may["cluster"])
		if !has("--watch-namespace=") {
			maps.Copy(inCluster, may["each watched namespace"])
		}
		compareRules(t, "ClusterRole", granted(only[*rbacv1.ClusterRole](t, objects).Rules), inCluster)
		for _, role := range every[*rbacv1.Role](objects) {
			switch role.Namespace {
			case "":
				compareRules(t, "Role", granted(role.Rules), may["its own namespace"])
			default:
				compareRules(t, "Role in "+role.Namespace, granted(role.Rules), may["each watched namespace"])
			}
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
