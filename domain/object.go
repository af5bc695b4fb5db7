package domain

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// CheckObject refuses what is not a JSON object, and an object whose strings the read models could not hold: with a NUL
// character or half of a surrogate pair. The content is somebody else's; it is not looked at otherwise.
func CheckObject(field string, raw json.RawMessage) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return Refuse(KindInvalid, "invalid_json", "must be a JSON object").On(field).Mend("give an object such as {}")
	}
	if !utf8.Valid(raw) {
		return notUTF8(field)
	}
	if escape := brokenEscape(string(raw)); escape != "" {
		return Refuse(KindInvalid, "invalid_text", "holds the escape %s, which stands for no character that can be kept", escape).
			On(field).Mend("remove it")
	}
	return nil
}

// SameJSON reports whether two JSON texts say the same, whatever the order of their keys. Absent is the same as absent only.
func SameJSON(a, b json.RawMessage) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	x, errX := respell(a)
	y, errY := respell(b)
	return errX == nil && errY == nil && x == y
}

// respell writes JSON with keys in order and no spaces; numbers stay as they are, since they may be longer than a float.
func respell(raw json.RawMessage) (string, error) {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return "", err
	}
	out, err := json.Marshal(v)
	return string(out), err
}

const escapeLen = len(`\u0000`)

// brokenEscape is the first escape in valid JSON that stands for NUL or for half of a surrogate pair; "" when there is none.
func brokenEscape(s string) string {
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			return ""
		}
		s = s[i:]
		unit, ok := codeUnit(s)
		if !ok { // a short escape, such as \n or \\
			s = s[len(`\n`):]
			continue
		}
		next, paired := codeUnit(s[escapeLen:])
		switch {
		case isHighSurrogate(unit) && paired && isLowSurrogate(next):
			s = s[escapeLen:]
		case unit == 0, isHighSurrogate(unit), isLowSurrogate(unit):
			return s[:escapeLen]
		}
		s = s[escapeLen:]
	}
}

// codeUnit is what the \uXXXX at the start of s stands for.
func codeUnit(s string) (rune, bool) {
	if len(s) < escapeLen || !strings.HasPrefix(s, `\u`) {
		return 0, false
	}
	var r rune
	for _, digit := range strings.ToLower(s[len(`\u`):escapeLen]) {
		r = r<<4 | rune(strings.IndexRune("0123456789abcdef", digit))
	}
	return r, true
}

func isHighSurrogate(r rune) bool { return r >= 0xd800 && r < 0xdc00 }
func isLowSurrogate(r rune) bool  { return r >= 0xdc00 && r < 0xe000 }
