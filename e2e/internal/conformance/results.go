// Package conformance is what the scenarios know about the Gateway API's conformance suite: how parts/suite says what
// became of each test, and which tests are left out where all Gateways share one address.
package conformance

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Results are the suite's tests by what became of them, in alphabetical order.
type Results struct {
	Passed, Failed []string
	// LeftOut were to be skipped by their name.
	LeftOut []string
	// Unclaimed need a feature that the GatewayClass does not claim.
	Unclaimed []string
	// NotApplicable skipped themselves: they are for implementations without a feature that is claimed.
	NotApplicable []string
}

// Read reads what parts/suite has written by its flag --results.
func Read(path string) (Results, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Results{}, fmt.Errorf("the suite wrote no results: %w", err)
	}
	return parse(string(data))
}

func parse(text string) (r Results, err error) {
	lists := map[string]*[]string{
		"passed": &r.Passed, "failed": &r.Failed, "left-out": &r.LeftOut,
		"unclaimed": &r.Unclaimed, "not-applicable": &r.NotApplicable,
	}
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		verdict, test, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		list, known := lists[verdict]
		switch {
		case !known || test == "":
			return r, fmt.Errorf("results of the suite: what is %q?", line)
		case seen[test]:
			return r, fmt.Errorf("results of the suite: %s is there twice", test)
		}
		seen[test] = true
		*list = append(*list, test)
	}
	for _, list := range lists {
		slices.Sort(*list)
	}
	return r, nil
}

// Differences says what became of tests in one of two runs alone.
func Differences(a, b Results) []string {
	var found []string
	for _, list := range []struct {
		verdict string
		a, b    []string
	}{
		{"passed", a.Passed, b.Passed},
		{"failed", a.Failed, b.Failed},
		{"was left out", a.LeftOut, b.LeftOut},
		{"was not claimed", a.Unclaimed, b.Unclaimed},
		{"was not applicable", a.NotApplicable, b.NotApplicable},
	} {
		found = append(found, onlyIn(list.a, list.b, list.verdict+" in the first run alone")...)
		found = append(found, onlyIn(list.b, list.a, list.verdict+" in the second run alone")...)
	}
	return found
}

func onlyIn(list, other []string, what string) (found []string) {
	for _, test := range list {
		if !slices.Contains(other, test) {
			found = append(found, test+" "+what)
		}
	}
	return found
}
