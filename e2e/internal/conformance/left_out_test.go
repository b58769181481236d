package conformance

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestDocumentHasTheTestsThatAreLeftOut(t *testing.T) {
	const path = "../../../docs/gateway-api.md"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(data), "| skipped test | reason |\n| --- | --- |\n")
	if !found {
		t.Fatalf("%s has no table of the tests that are left out", path)
	}
	table, _, _ := strings.Cut(rest, "\n\n")
	var want []string
	for _, test := range OneAddress {
		want = append(want, fmt.Sprintf("| %s | %s |", test.Test, test.Reason))
	}
	if want := strings.Join(want, "\n"); table != want {
		t.Errorf("%s has\n%s\nwant\n%s", path, table, want)
	}
}
