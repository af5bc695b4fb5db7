package api

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain/environment"
)

// patched applies a merge patch (RFC 7396) to an environment's settings. What the patch sets to null is as if it had never
// been given; whether that may be, the domain says.
func patched(now environment.Reconfigured, patch []field) (environment.Reconfigured, error) {
	settings := wire.EnvironmentSettings{
		Name: now.Name, Description: now.Description, Driver: now.Driver, Config: orObject(now.Config),
		EnvVars: showVars(now.EnvVars), MaxLeases: now.MaxLeases, Metadata: now.Metadata, MaxQueued: now.MaxQueued,
		MaxTTL: shownDuration(now.MaxTTLMs),
	}
	document, err := json.Marshal(settings)
	if err != nil {
		return now, fmt.Errorf("encode an environment: %w", err)
	}
	before, err := objectFields(document)
	if err != nil {
		return now, err
	}
	for _, f := range patch {
		if _, ok := find(before, f.name); !ok {
			return now, unknownField(f.name, settingNames(before))
		}
	}
	merged := make([]field, 0, len(before))
	for _, f := range before {
		if raw, ok := find(patch, f.name); ok {
			if f.raw, err = merge(f.raw, raw); err != nil {
				return now, err
			}
		}
		merged = append(merged, f)
	}
	var after wire.EnvironmentSettings
	if err := decodeFields(merged, &after); err != nil {
		return now, err
	}
	longest, err := maxTTLMs(after.MaxTTL)
	if err != nil {
		return now, err
	}
	return environment.Reconfigured{
		Name: after.Name, Description: after.Description, Driver: after.Driver, Config: after.Config,
		EnvVars: wantedVars(after.EnvVars), MaxLeases: after.MaxLeases, Metadata: after.Metadata, MaxQueued: after.MaxQueued,
		MaxTTLMs: longest,
	}, nil
}

func settingNames(fields []field) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return names
}

func find(fields []field, name string) (json.RawMessage, bool) {
	for _, f := range fields {
		if f.name == name {
			return f.raw, true
		}
	}
	return nil, false
}

// merge is RFC 7396's MergePatch on JSON texts. Numbers stay as they are spelled.
func merge(target, patch json.RawMessage) (json.RawMessage, error) {
	t, err := decodeAny(target)
	if err != nil {
		return nil, err
	}
	p, err := decodeAny(patch)
	if err != nil {
		return nil, err
	}
	return json.Marshal(mergeValues(t, p))
}

func decodeAny(raw json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return v, nil
}

func mergeValues(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for name, value := range p {
		if value == nil {
			delete(t, name)
			continue
		}
		t[name] = mergeValues(t[name], value)
	}
	return t
}
