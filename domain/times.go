package domain

import (
	"bytes"
	"encoding/json"
	"reflect"
	"time"
)

// The quick reader of payloads takes some texts for times that are none, such as 13:00>00Z. What the log holds was written by
// the standard library, in one form; a time that does not stand in a payload in that form is for the standard library to read.

var timeType = reflect.TypeFor[time.Time]()

// timesIn are the fields of t that hold a time, or point to one, with those of the structs in it.
func timesIn(t reflect.Type, path ...int) (fields [][]int) {
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int(nil), path...), i)
		switch {
		case f.Type == timeType, f.Type == reflect.PointerTo(timeType):
			fields = append(fields, at)
		case f.IsExported():
			fields = append(fields, timesIn(f.Type, at...)...)
		}
	}
	return fields
}

// readAgain reads raw into t once more, by the standard library, unless its times stand in raw as that writes them.
func readAgain[T any](raw json.RawMessage, t *T, fields [][]int) error {
	for _, at := range fields {
		text, err := json.Marshal(reflect.ValueOf(t).Elem().FieldByIndex(at).Interface())
		if err == nil && (bytes.Equal(text, []byte("null")) || bytes.Contains(raw, text)) {
			continue
		}
		var strict T
		if err := json.Unmarshal(raw, &strict); err != nil {
			return err
		}
		*t = strict
		return nil
	}
	return nil
}
