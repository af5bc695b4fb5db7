package manifest

import (
	"bytes"
	"encoding/json"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
)

// reuseLease is the one field of a sandbox environment's configuration that is the engine's, and also the provider's if its
// schema names it. The others do not come this far; see package provider.
const reuseLease = "reuseLease"

// ProviderConfig is the part of an environment's configuration that is the provider's own. Anything that is no JSON object is
// returned as it is.
func (d Driver) ProviderConfig(config json.RawMessage) json.RawMessage {
	if len(bytes.TrimSpace(config)) == 0 {
		return json.RawMessage("{}")
	}
	if d.Kind != provider.KindSandbox || d.Config.Declares(reuseLease) {
		return config
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(config, &fields) != nil || fields[reuseLease] == nil {
		return config
	}
	delete(fields, reuseLease)
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
