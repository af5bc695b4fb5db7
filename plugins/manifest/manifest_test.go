package manifest_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/manifest"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// whole is a manifest in which everything is right.
const whole = `{
	"id": "acme.box", "apiVersion": 1, "version": "1.2.3-rc.1", "displayName": "Acme", "description": "Boxes.", "author": "A",
	"categories": ["connector"], "capabilities": ["environment.drivers.register", "secrets.read-ref"],
	"entrypoints": {"worker": "./dist/worker.js", "ui": "x"}, "jobs": [{"any": "thing"}], "minimumHostVersion": "1.0.0",
	"environmentDrivers": [{
		"driverKey": "box", "kind": "sandbox_provider", "displayName": "Box", "supportsReusableLeases": true,
		"sandboxCapabilities": {"nativeSyncIn": false},
		"configSchema": {"type": "object", "properties": {"size": {"type": "integer"}}}
	}, {"driverKey": "raw", "displayName": "Raw", "configSchema": {}}],
	"tenure": {"drivers": {"box": {"class": "listable", "isolation": "vm", "list": true}}}, "unknown": {}
}`

func TestAManifestIsReadWhole(t *testing.T) {
	t.Parallel()
	m, err := manifest.Parse([]byte(whole))
	require.NoError(t, err)
	require.Equal(t, []string{"acme.box", "1.2.3-rc.1", "Acme", "./dist/worker.js"},
		[]string{m.ID, m.Version, m.DisplayName, m.Worker})
	require.True(t, m.Declares(manifest.CapabilityDrivers))
	require.False(t, m.Declares("http.outbound"))
	require.JSONEq(t, whole, string(m.Raw))
	require.NotContains(t, string(m.Raw), "\n")
	box, ok := m.Driver("box")
	require.True(t, ok)
	require.Equal(t, provider.KindSandbox, box.Kind)
	require.True(t, box.ReusableLeases)
	require.Equal(t, &protocol.TenureDriver{Class: "listable", Isolation: "vm", List: true}, box.Tenure)
	raw, ok := m.Driver("raw")
	require.True(t, ok)
	require.Equal(t, provider.KindDriver, raw.Kind)
	require.Nil(t, raw.Tenure)
	_, ok = m.Driver("other")
	require.False(t, ok)
}

// edit returns whole with a change.
func edit(t *testing.T, change func(m map[string]any)) []byte {
	t.Helper()
	var m map[string]any
	require.NoError(t, json.Unmarshal([]byte(whole), &m))
	change(m)
	b, err := json.Marshal(m)
	require.NoError(t, err)
	return b
}

func TestEachFaultOfAManifestIsNamed(t *testing.T) {
	t.Parallel()
	driver := func(m map[string]any) map[string]any { return m["environmentDrivers"].([]any)[0].(map[string]any) }
	tenure := func(m map[string]any) map[string]any {
		return m["tenure"].(map[string]any)["drivers"].(map[string]any)
	}
	long := strings.Repeat("é", 101)
	for name, tc := range map[string]struct {
		field  string
		change func(m map[string]any)
	}{
		"no id":                   {"id", func(m map[string]any) { delete(m, "id") }},
		"a bad id":                {"id", func(m map[string]any) { m["id"] = "Acme" }},
		"an id of a wrong type":   {"id", func(m map[string]any) { m["id"] = 7 }},
		"another api":             {"apiVersion", func(m map[string]any) { m["apiVersion"] = 2 }},
		"an api in quotes":        {"apiVersion", func(m map[string]any) { m["apiVersion"] = "1" }},
		"no semver":               {"version", func(m map[string]any) { m["version"] = "v1" }},
		"a long name":             {"displayName", func(m map[string]any) { m["displayName"] = long }},
		"no description":          {"description", func(m map[string]any) { m["description"] = "" }},
		"no author":               {"author", func(m map[string]any) { delete(m, "author") }},
		"no category":             {"categories", func(m map[string]any) { m["categories"] = []any{} }},
		"an unknown category":     {"categories[1]", func(m map[string]any) { m["categories"] = []any{"ui", "x"} }},
		"an unknown capability":   {"capabilities[1]", func(m map[string]any) { m["capabilities"] = []any{manifest.CapabilityDrivers, "root"} }},
		"a missing capability":    {"capabilities", func(m map[string]any) { m["capabilities"] = []any{"http.outbound"} }},
		"no worker":               {"entrypoints.worker", func(m map[string]any) { m["entrypoints"] = map[string]any{} }},
		"two minimum versions":    {"minimumHostVersion", func(m map[string]any) { m["minimumPaperclipVersion"] = "2.0.0" }},
		"an unknown driver field": {"environmentDrivers[0]", func(m map[string]any) { driver(m)["supportsLoginPTY"] = true }},
		"an unknown capability of a sandbox": {"environmentDrivers[0].sandboxCapabilities", func(m map[string]any) {
			driver(m)["sandboxCapabilities"] = map[string]any{"reusableLease": true}
		}},
		"a bad key":         {"environmentDrivers[0].driverKey", func(m map[string]any) { driver(m)["driverKey"] = "-" }},
		"an unknown kind":   {"environmentDrivers[0].kind", func(m map[string]any) { driver(m)["kind"] = "sandbox" }},
		"no schema":         {"environmentDrivers[0].configSchema", func(m map[string]any) { delete(driver(m), "configSchema") }},
		"a bad schema":      {"environmentDrivers[0].configSchema", func(m map[string]any) { driver(m)["configSchema"] = map[string]any{"type": "objekt"} }},
		"a schema of files": {"environmentDrivers[0].configSchema", func(m map[string]any) { driver(m)["configSchema"] = map[string]any{"$ref": "file:///etc/passwd"} }},
		"an old schema": {"environmentDrivers[0].configSchema.$schema", func(m map[string]any) {
			driver(m)["configSchema"] = map[string]any{"$schema": "http://json-schema.org/draft-04/schema#"}
		}},
		"a key twice": {"environmentDrivers[1].driverKey", func(m map[string]any) {
			m["environmentDrivers"].([]any)[1].(map[string]any)["driverKey"] = "box"
		}},
		"two names that differ": {"environmentDrivers[0].supportsLoginPty", func(m map[string]any) {
			driver(m)["supportsLoginPty"], driver(m)["supportsSetupTokenLogin"] = true, false
		}},
		"a template of provider": {"environmentDrivers[0].templateConfigBinding.field", func(m map[string]any) {
			driver(m)["templateConfigBinding"] = map[string]any{"field": "provider"}
		}},
		"a template twice": {"environmentDrivers[0].templateConfigBinding.unsetFields[0]", func(m map[string]any) {
			driver(m)["templateConfigBinding"] = map[string]any{"field": "a", "unsetFields": []any{"a"}}
		}},
		"an unknown class":   {`tenure.drivers["box"].class`, func(m map[string]any) { tenure(m)["box"] = map[string]any{"class": "best", "isolation": "vm"} }},
		"listable, no list":  {`tenure.drivers["box"].list`, func(m map[string]any) { tenure(m)["box"] = map[string]any{"class": "listable", "isolation": "vm"} }},
		"no isolation":       {`tenure.drivers["box"].isolation`, func(m map[string]any) { tenure(m)["box"] = map[string]any{"class": "blind"} }},
		"a misspelt promise": {`tenure.drivers["box"]`, func(m map[string]any) { tenure(m)["box"] = map[string]any{"class": "blind", "exce": true} }},
		"a stranger":         {`tenure.drivers["bx"]`, func(m map[string]any) { tenure(m)["bx"] = map[string]any{"class": "blind", "isolation": "vm"} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := manifest.Parse(edit(t, tc.change))
			invalid, ok := errors.AsType[*manifest.Error](err)
			require.True(t, ok, "%v", err)
			fields := make(map[string]bool)
			for _, p := range invalid.Problems {
				fields[p.Field] = true
				require.NotEmpty(t, p.Problem)
				require.NotEmpty(t, p.Remediation, p.Field)
			}
			require.Equal(t, []string{tc.field}, slices.Sorted(maps.Keys(fields)), "%v", err)
		})
	}
	for _, text := range []string{``, `null`, `[]`, `{"id":`, `"x"`} {
		_, err := manifest.Parse([]byte(text))
		require.Error(t, err, text)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`{"environmentDrivers":[null,{}],"tenure":{"drivers":{"x":null}}}`))
	f.Add([]byte(`{"environmentDrivers":[{"configSchema":{"$ref":"#"}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := manifest.Parse(raw)
		if err != nil {
			if _, ok := errors.AsType[*manifest.Error](err); !ok || err.Error() == "manifest: " {
				t.Fatalf("an error that says nothing: %v", err)
			}
			return
		}
		if again, err := manifest.Parse(m.Raw); err != nil || string(again.Raw) != string(m.Raw) {
			t.Fatalf("what is passed on is another manifest: %v", err)
		}
		for _, d := range m.Drivers {
			_ = d.CheckConfig(raw)
			_ = d.SecretFields(raw)
		}
	})
}

func TestTheManifestOfTheDocumentationIsOne(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "plugins.md"))
	require.NoError(t, err)
	_, after, ok := strings.Cut(string(text), "```json\n")
	require.True(t, ok)
	example, _, ok := strings.Cut(after, "```")
	require.True(t, ok)
	m, err := manifest.Parse([]byte(example))
	require.NoError(t, err)
	require.Equal(t, "acme.boxes", m.ID)
}
