package manifest

import (
	"bytes"
	"encoding/json"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
)

// envelopeKeys are fields of a sandbox environment's configuration that are for the engine. The provider gets one of them
// only if its schema names it, and provider never.
var envelopeKeys = []string{"runtimeUrl", "runtimeApiCandidates", "reuseLease"}

// ProviderConfig is the part of an environment's configuration that is the provider's own. Anything that is no JSON object is
// returned as it is.
func (d Driver) ProviderConfig(config json.RawMessage) json.RawMessage {
	if len(bytes.TrimSpace(config)) == 0 {
		return json.RawMessage("{}")
	}
	if d.Kind != provider.KindSandbox {
		return config
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(config, &fields) != nil || fields == nil {
		return config
	}
	before := len(fields)
	delete(fields, "provider")
	for _, key := range envelopeKeys {
		if !d.Config.Declares(key) {
			delete(fields, key)
		}
	}
	if len(fields) == before {
		return config
	}
	own, err := json.Marshal(fields)
	if err != nil {
		return config // what was decoded a moment ago can be encoded
	}
	return own
}

// CheckConfig is [drivers.ConfigChecker].
func (d Driver) CheckConfig(config json.RawMessage) error {
	return d.Config.Check(d.ProviderConfig(config))
}

// SecretFields is [drivers.SecretHolder].
func (d Driver) SecretFields(config json.RawMessage) []drivers.SecretField {
	return d.Config.SecretFields(d.ProviderConfig(config))
}
