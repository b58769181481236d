package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRendersAsBefore(t *testing.T) {
	for _, c := range testCases(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text, err := template(t, chartDir, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, filepath.Join(c.dir, "rendered.yaml"), text)
		})
	}
}

func TestNotesSayTheNextCommand(t *testing.T) {
	chart := withNotesAsTemplate(t)
	for _, c := range testCases(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text, err := template(t, chart, append(c.args, "--show-only", "templates/notes.yaml")...)
			if err != nil {
				t.Fatal(err)
			}
			_, notes, found := strings.Cut(text, "notes: |\n")
			if !found {
				t.Fatalf("no notes in %s", text)
			}
			lines := strings.SplitAfter(notes, "\n")
			for i, line := range lines {
				lines[i] = strings.TrimPrefix(line, "  ")
			}
			compare(t, filepath.Join(c.dir, "notes.txt"), strings.Join(lines, ""))
		})
	}
}

func TestLint(t *testing.T) {
	for _, c := range testCases(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := helm(t, "lint", "--strict", chartDir, "--values", filepath.Join(c.dir, "values.yaml")); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// compare holds a text against a golden file, or writes it there.
func compare(t *testing.T, file, text string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (UPDATE_GOLDEN=1 writes it)", err)
	}
	was, is := strings.Split(string(golden), "\n"), strings.Split(text, "\n")
	for i := range max(len(was), len(is)) {
		if line(was, i) != line(is, i) {
			t.Fatalf("%s:%d (UPDATE_GOLDEN=1 rewrites it)\n was %s\n is  %s", file, i+1, line(was, i), line(is, i))
		}
	}
}

func line(lines []string, at int) string {
	if at < len(lines) {
		return lines[at]
	}
	return "<end>"
}

// withNotesAsTemplate is the chart with its notes as one more template: `helm template` leaves NOTES.txt out, and
// `helm install --dry-run` cannot be told which CRDs there are.
func withNotesAsTemplate(t *testing.T) string {
	t.Helper()
	chart := t.TempDir()
	if err := os.CopyFS(chart, os.DirFS(chartDir)); err != nil {
		t.Fatal(err)
	}
	notes, err := os.ReadFile(filepath.Join(chart, "templates/NOTES.txt"))
	if err != nil {
		t.Fatal(err)
	}
	text := "{{- define \"notes\" }}" + string(notes) + "{{ end -}}\nnotes: |\n{{ include \"notes\" . | indent 2 }}\n"
	if err := os.WriteFile(filepath.Join(chart, "templates/notes.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return chart
}
