// Package parts builds the programs that the cluster consists of from their Go modules, and keeps them by what they
// were built from: a second run builds nothing.
package parts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"portcullis.dev/e2e/internal/stage"
)

// Part is a folder under parts/ with a go.mod of its own.
type Part struct {
	Name string
	// Go toolchain to build with; the one at hand when empty.
	Toolchain string
	// Link-time variables, for `-ldflags -X`.
	Variables []string
	// Packages, each giving a program; the key is its file's name.
	Programs map[string]string
	// The folder's own tests as one program of this name.
	TestProgram string
}

// KubernetesVersion is that of parts/kubernetes/go.mod; the node says it.
const KubernetesVersion = "v1.34.4"

// SuiteToolchain is what the modules of Gateway API 1.7 ask for at least.
const SuiteToolchain = "go1.27.3"

// All of them; Suite is only needed by the conformance scenario.
var (
	Etcd = Part{Name: "etcd", Programs: map[string]string{"etcd": "go.etcd.io/etcd/server/v3"}}

	Kubernetes = Part{
		Name: "kubernetes",
		// Else the node reports v0.0.0-master, and clients that look at the server's version refuse it.
		Variables: []string{
			"k8s.io/component-base/version.gitVersion=" + KubernetesVersion,
			"k8s.io/component-base/version.gitMajor=1",
			"k8s.io/component-base/version.gitMinor=34",
		},
		Programs: map[string]string{
			"kube-apiserver":          "k8s.io/kubernetes/cmd/kube-apiserver",
			"kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
			"kube-scheduler":          "k8s.io/kubernetes/cmd/kube-scheduler",
			"kubelet":                 "k8s.io/kubernetes/cmd/kubelet",
			"kube-proxy":              "k8s.io/kubernetes/cmd/kube-proxy",
			"kubectl":                 "k8s.io/kubernetes/cmd/kubectl",
		},
	}

	CoreDNS = Part{Name: "coredns", Programs: map[string]string{"coredns": "."}}
	Helm    = Part{Name: "helm", Programs: map[string]string{"helm": "helm.sh/helm/v4/cmd/helm"}}
	Echo    = Part{Name: "echo", Programs: map[string]string{"echo-basic": "sigs.k8s.io/gateway-api-conformance-images/echo-basic"}}
	Suite   = Part{Name: "suite", Toolchain: SuiteToolchain, TestProgram: "conformance.test"}
)

// Store holds what was built.
type Store struct {
	// Source is the folder parts/ of the repository.
	Source string
	// Cache is where programs are kept, one folder for each part and key.
	Cache string
}

// Build returns the folder with the part's programs, and whether they had to be built.
func (s Store) Build(ctx context.Context, p *stage.Printer, part Part) (string, bool, error) {
	source := filepath.Join(s.Source, part.Name)
	key, err := part.key(source)
	if err != nil {
		return "", false, err
	}
	have := filepath.Join(s.Cache, part.Name+"-"+key)
	if _, err := os.Stat(have); err == nil {
		return have, false, nil
	}
	if err := os.MkdirAll(s.Cache, 0o755); err != nil {
		return "", false, err
	}
	// Built beside and renamed, so that an interrupted build is never taken for a whole one.
	fresh, err := os.MkdirTemp(s.Cache, ".building-"+part.Name+"-")
	if err != nil {
		return "", false, err
	}
	defer os.RemoveAll(fresh)
	for _, args := range part.commands(fresh) {
		cmd := exec.Command("go", args...)
		cmd.Dir = source
		cmd.Env = part.environment()
		if err := p.Command(ctx, "build-"+part.Name, cmd); err != nil {
			return "", false, err
		}
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return "", false, err
	}
	if err := os.Rename(fresh, have); err != nil {
		return "", false, err
	}
	return have, true, nil
}

// ModuleDir is the folder of a module that a part requires, in the module cache.
func (s Store) ModuleDir(ctx context.Context, part Part, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir = filepath.Join(s.Source, part.Name)
	cmd.Env = part.environment()
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("where is module %s: %w", module, err)
	}
	dir := strings.TrimSpace(string(out))
	if dir != "" {
		return dir, nil
	}
	get := exec.CommandContext(ctx, "go", "mod", "download", module)
	get.Dir, get.Env = cmd.Dir, cmd.Env
	if out, err := get.CombinedOutput(); err != nil {
		return "", fmt.Errorf("download of module %s: %w\n%s", module, err, out)
	}
	again := exec.CommandContext(ctx, cmd.Args[0], cmd.Args[1:]...)
	again.Dir, again.Env = cmd.Dir, cmd.Env
	out, err = again.Output()
	return strings.TrimSpace(string(out)), err
}

func (part Part) commands(out string) [][]string {
	flags := "-s -w"
	for _, v := range part.Variables {
		flags += " -X " + v
	}
	if part.TestProgram != "" {
		return [][]string{{"test", "-c", "-mod=readonly", "-trimpath", "-ldflags", flags, "-o", filepath.Join(out, part.TestProgram), "."}}
	}
	var all [][]string
	for _, name := range slices.Sorted(maps.Keys(part.Programs)) {
		all = append(all, []string{
			"build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", flags,
			"-o", filepath.Join(out, name), part.Programs[name],
		})
	}
	return all
}

func (part Part) environment() []string {
	env := append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOOS=linux", "GOARCH=amd64")
	if part.Toolchain != "" {
		return append(env, "GOTOOLCHAIN="+part.Toolchain)
	}
	return append(env, "GOTOOLCHAIN=local")
}

// key is the hash of everything that the programs depend on: sources, pinned modules, flags.
func (part Part) key(source string) (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, part.Toolchain, part.commands("out"))
	files, err := filepath.Glob(filepath.Join(source, "*"))
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", fmt.Errorf("no sources in %s", source)
	}
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(hash, filepath.Base(path))
		_, err = io.Copy(hash, file)
		file.Close()
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}
