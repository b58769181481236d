package conformance

import (
	"reflect"
	"strings"
	"testing"
)

func TestResultsAreRead(t *testing.T) {
	got, err := parse("passed B\nfailed C\npassed A\nunclaimed D\nleft-out E\nnot-applicable F\n")
	if err != nil {
		t.Fatal(err)
	}
	want := Results{
		Passed: []string{"A", "B"}, Failed: []string{"C"}, Unclaimed: []string{"D"}, LeftOut: []string{"E"},
		NotApplicable: []string{"F"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestResultsThatAreNoneAreRefused(t *testing.T) {
	for _, text := range []string{"passed\n", "done A\n", "passed A\nfailed A\n"} {
		if got, err := parse(text); err == nil {
			t.Errorf("%q was taken for %+v", text, got)
		}
	}
}

func TestDifferencesAreFound(t *testing.T) {
	a := Results{Passed: []string{"A", "B"}, Unclaimed: []string{"C"}}
	if got := Differences(a, a); len(got) != 0 {
		t.Errorf("between the same: %v", got)
	}
	b := Results{Passed: []string{"A"}, Failed: []string{"B"}, Unclaimed: []string{"C"}}
	got := strings.Join(Differences(a, b), "; ")
	if want := "B passed in the first run alone; B failed in the second run alone"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
