package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"portcullis.dev/e2e/internal/cluster"
	"portcullis.dev/e2e/internal/image"
	"portcullis.dev/e2e/internal/parts"
	"portcullis.dev/e2e/internal/portcullis"
	"portcullis.dev/e2e/internal/stage"
)

// built is what a cluster is made of.
type built struct {
	binaries map[string]string
	images   []string
	crds     []string
	agent    []string
}

// conformance are the scenarios that need the suite, each by the flag --long; building it takes minutes, so it is built
// for those alone.
var conformance = map[string]bool{
	"TestConformance":             false,
	"TestLongConformanceShared":   true,
	"TestLongConformanceRepeated": true,
	"TestLongConformanceRestarts": true,
}

func build(ctx context.Context, p *stage.Printer, o options) (*built, error) {
	store := store(o)
	b := &built{binaries: map[string]string{}, agent: []string{sibling("e2e"), "agent", o.clusterDir()}}
	wanted := []parts.Part{parts.Etcd, parts.Kubernetes, parts.CoreDNS, parts.Helm, parts.Echo}
	suite, err := needsSuite(o)
	if err != nil {
		return nil, err
	}
	if suite {
		wanted = append(wanted, parts.Suite)
	}
	for _, part := range wanted {
		if err := b.part(ctx, p, store, part); err != nil {
			return nil, err
		}
	}
	if err := p.Run("images", func() error { return b.makeImages(o.images()) }); err != nil {
		return nil, err
	}
	if !o.bare {
		if err := p.Run("build portcullis", func() error { return b.portcullis(ctx, p, o) }); err != nil {
			return nil, err
		}
	}
	module, err := store.ModuleDir(ctx, parts.Suite, "sigs.k8s.io/gateway-api")
	if err != nil {
		return nil, err
	}
	// Among them is a ValidatingAdmissionPolicy that forbids the experimental CRDs where the standard ones are: each channel
	// has a cluster of its own.
	b.crds, err = filepath.Glob(filepath.Join(module, "config", "crd", o.channel, "gateway*.yaml"))
	if err == nil && len(b.crds) == 0 {
		err = fmt.Errorf("no CRDs in %s", module)
	}
	return b, err
}

func store(o options) parts.Store {
	return parts.Store{Source: filepath.Join(o.repository, "e2e", "parts"), Cache: filepath.Join(o.cache, "parts")}
}

func (b *built) part(ctx context.Context, p *stage.Printer, store parts.Store, part parts.Part) error {
	return p.Run("build "+part.Name, func() error {
		dir, fresh, err := store.Build(ctx, p, part)
		if err != nil {
			return err
		}
		if !fresh {
			p.Say("   cached: %s", dir)
		}
		programs, err := os.ReadDir(dir)
		for _, program := range programs {
			b.binaries[program.Name()] = filepath.Join(dir, program.Name())
		}
		return err
	})
}

func (b *built) makeImages(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	const echo = "registry.k8s.io/gateway-api/conformance/echo-basic"
	for name, i := range map[string]image.Image{
		"pause": {
			Tags: []string{cluster.PauseImage}, Entrypoint: []string{"/pause"}, User: "65535:65535",
			Files: map[string]string{"/pause": sibling("pause")},
		},
		"signin": {
			Tags: []string{cluster.SignInImage}, Entrypoint: []string{"/signin"}, User: "65532:65532",
			Files: map[string]string{"/signin": sibling("signin")},
		},
		"coredns": {
			Tags: []string{"registry.k8s.io/coredns/coredns:e2e"}, Entrypoint: []string{"/coredns"},
			Files: map[string]string{"/coredns": b.binaries["coredns"]},
		},
		// The suite names both tags; one server does what either needs.
		"echo": {
			Tags: []string{echo + ":v0.1.0", echo + ":v0.2.0"}, Entrypoint: []string{"/echo-basic"}, User: "65532:65532",
			Files: map[string]string{"/echo-basic": b.binaries["echo-basic"]},
		},
	} {
		archive := filepath.Join(dir, name+".tar")
		if _, err := i.Write(archive); err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
		b.images = append(b.images, archive)
	}
	return nil
}

func (b *built) portcullis(ctx context.Context, p *stage.Printer, o options) error {
	binary := o.binary
	if binary == "" {
		var err error
		if binary, err = portcullis.Build(ctx, p, o.repository); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(o.images(), 0o755); err != nil {
		return err
	}
	archive := filepath.Join(o.images(), "portcullis.tar")
	b.images = append(b.images, archive)
	return portcullis.Image(p, binary, archive)
}

// needsSuite tells whether one of the conformance scenarios will be run.
func needsSuite(o options) (bool, error) {
	if o.bare || o.filter == "" {
		return !o.bare, nil
	}
	filter, err := regexp.Compile(o.filter)
	if err != nil {
		return false, fmt.Errorf("--filter: %w", err)
	}
	for name, long := range conformance {
		if filter.MatchString(name) && (o.long || !long) {
			return true, nil
		}
	}
	return false, nil
}
