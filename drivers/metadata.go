package drivers

import "encoding/json"

// Metadata encodes what a driver says of a runtime; equal fields give equal bytes.
func Metadata(fields map[string]any) json.RawMessage {
	raw, err := json.Marshal(fields)
	if err != nil {
		panic("drivers: metadata that is no JSON: " + err.Error()) // a mistake of the driver's author
	}
	return raw
}
