package bubblewrap

import (
	"encoding/json"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// What the manifest's schema says and what the driver does are the same.
func TestTheSchemaAndTheDecoderAgree(t *testing.T) {
	t.Parallel()
	var schema any
	require.NoError(t, json.Unmarshal([]byte(ConfigSchema), &schema))
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("config.json", schema))
	compiled, err := compiler.Compile("config.json")
	require.NoError(t, err)
	for config, good := range map[string]bool{
		`{}`:                                    true,
		`[]`:                                    false,
		`null`:                                  false,
		`{"memoryMb": 4}`:                       true,
		`{"memoryMb": 512.0}`:                   true,
		`{"memoryMb": 5.5}`:                     false,
		`{"memoryMb": 3}`:                       false,
		`{"memoryMb": 16777217}`:                false,
		`{"memoryMb": null}`:                    false,
		`{"memoryMb": "512"}`:                   false,
		`{"pids": 1}`:                           true,
		`{"pids": 0}`:                           false,
		`{"pids": 1e3}`:                         true,
		`{"pids": 1e300}`:                       false,
		`{"cpus": 0.01}`:                        true,
		`{"cpus": 0.001}`:                       false,
		`{"cpus": 4096}`:                        true,
		`{"cpus": 4097}`:                        false,
		`{"cpus": null}`:                        false,
		`{"network": "none"}`:                   true,
		`{"network": "host"}`:                   true,
		`{"network": "Host"}`:                   false,
		`{"network": null}`:                     false,
		`{"readOnlyPaths": []}`:                 true,
		`{"readOnlyPaths": ["/opt", "/srv"]}`:   true,
		`{"readOnlyPaths": ["/opt", "/opt"]}`:   false,
		`{"readOnlyPaths": ["opt"]}`:            false,
		`{"readOnlyPaths": [""]}`:               false,
		`{"readOnlyPaths": ["/a\u0000b"]}`:      false,
		`{"readOnlyPaths": [null]}`:             false,
		`{"readOnlyPaths": null}`:               false,
		`{"timeoutMs": 1}`:                      true,
		`{"timeoutMs": 0}`:                      false,
		`{"timeoutMs": 9007199254}`:             true,
		`{"timeoutMs": 9007199255}`:             false,
		`{"limits": "best_effort"}`:             true,
		`{"limits": "maybe"}`:                   false,
		`{"image": "debian"}`:                   false,
		`{"MemoryMb": 512}`:                     false,
		`{"memoryMb": 64, "limits": "enforce"}`: true,
	} {
		var value any
		require.NoError(t, json.Unmarshal([]byte(config), &value))
		require.Equal(t, good, compiled.Validate(value) == nil, "the schema on %s", config)
		_, err := decodeConfig(json.RawMessage(config))
		require.Equal(t, good, err == nil, "the decoder on %s: %v", config, err)
	}
}
