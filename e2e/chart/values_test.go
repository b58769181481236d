package chart

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// A valuesNode is a schema, as far as it is asked here.
type valuesNode struct {
	Type                 any                    `json:"type"`
	Ref                  string                 `json:"$ref"`
	AdditionalProperties any                    `json:"additionalProperties"`
	Properties           map[string]*valuesNode `json:"properties"`
	Items                *valuesNode            `json:"items"`
	Definitions          map[string]*valuesNode `json:"definitions"`
}

// Objects whose keys are Kubernetes' own business, or another chart's.
var free = map[string]bool{
	"/global": true, "/affinity/nodeAffinity": true, "/affinity/podAffinity": true, "/affinity/podAntiAffinity": true,
}

func TestSchemaRefusesUnknownKeysEverywhere(t *testing.T) {
	root := valuesSchema(t)
	objects := 0
	var walk func(path string, at *valuesNode)
	walk = func(path string, at *valuesNode) {
		if at == nil {
			return
		}
		if at.Type == "object" && !free[path] {
			objects++
			// Either none, or of a type that is given.
			if of, isSchema := at.AdditionalProperties.(map[string]any); at.AdditionalProperties != false && (!isSchema || of["type"] == nil) {
				t.Errorf("%s takes keys that nobody knows", path)
			}
		}
		walk(path+"[]", at.Items)
		for name, property := range at.Properties {
			walk(path+"/"+name, property)
		}
		for name, definition := range at.Definitions {
			walk("definitions/"+name, definition)
		}
	}
	walk("", root)
	if objects < 20 {
		t.Errorf("only %d objects found in the schema", objects)
	}
}

// helm refuses defaults that the schema does not know; this is the other way round.
func TestEachValueHasADefaultThatDocumentsIt(t *testing.T) {
	text, err := os.ReadFile(chartDir + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, of *valuesNode, values map[string]any)
	walk = func(path string, of *valuesNode, values map[string]any) {
		for name, property := range of.Properties {
			value, found := values[name]
			if !found && path+"/"+name != "/global" {
				t.Errorf("%s/%s is in the schema and not in values.yaml", path, name)
			}
			// An empty object is one that the chart does not look into.
			if inner, isObject := value.(map[string]any); isObject && len(inner) > 0 && path+"/"+name != "/resources" {
				walk(path+"/"+name, property, inner)
			}
		}
	}
	walk("", valuesSchema(t), values)
}

func valuesSchema(t *testing.T) *valuesNode {
	t.Helper()
	text, err := os.ReadFile(chartDir + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	root := new(valuesNode)
	if err := json.Unmarshal(text, root); err != nil {
		t.Fatal(err)
	}
	return root
}

// The values that the guide names for each platform render.
func TestValuesInTheGuideRender(t *testing.T) {
	blocks := 0
	for _, section := range strings.Split(read(t, "docs/install.md"), "\n```yaml\n")[1:] {
		values, _, _ := strings.Cut(section, "\n```")
		if strings.Contains(values, "apiVersion:") {
			continue // an object
		}
		blocks++
		text, err := templateWith(t, values)
		if err != nil {
			t.Errorf("%s\n%v", values, err)
			continue
		}
		decode(t, text)
	}
	if blocks < 5 {
		t.Errorf("only %d blocks of values found", blocks)
	}
}
