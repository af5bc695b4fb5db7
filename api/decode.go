package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
)

// Refusals of a body that have a status of their own.
var (
	errTooLarge        = errors.New("the body is too large")
	errUnsupportedType = errors.New("the body's type is not supported")
)

// readBody reads the body of a request that may have one, within its limits of size and time.
func (c *call) readBody() error {
	if c.route.method != http.MethodPost && c.route.method != http.MethodPatch {
		return nil
	}
	limits := c.server.deps.Limits
	r := c.Request()
	limit := orDefault(c.route.body, limits.BodyBytes)
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	control := http.NewResponseController(c.Response())
	_ = control.SetReadDeadline(time.Now().Add(limits.BodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, limit))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return tooLarge(limit)
	}
	if err != nil {
		return invalid("body_cut_off", "", "the body did not arrive whole").Mend("send it again, within %s", limits.BodyTimeout)
	}
	_ = control.SetReadDeadline(time.Time{})
	c.body = body
	return c.checkType()
}

func tooLarge(limit int64) error {
	return &statusError{err: errTooLarge, refusal: domain.Refuse(domain.KindInvalid, "body_too_large", "the body has more than %d bytes", limit).
		Mend("send less; bring large data in as a file"), status: http.StatusRequestEntityTooLarge}
}

// checkType refuses a body that says to be something else than JSON.
func (c *call) checkType() error {
	if len(c.body) == 0 {
		return nil
	}
	want := []string{echo.MIMEApplicationJSON}
	if c.route.method == http.MethodPatch {
		want = []string{wire.TypeMergePatch, echo.MIMEApplicationJSON}
	}
	h := c.Request().Header
	media, params, err := mime.ParseMediaType(h.Get(echo.HeaderContentType))
	charset, other := params["charset"]
	plain := h.Get(echo.HeaderContentEncoding) == "" || h.Get(echo.HeaderContentEncoding) == "identity"
	if err == nil && plain && slices.Contains(want, media) && (!other || strings.EqualFold(charset, "utf-8")) {
		return nil
	}
	return &statusError{err: errUnsupportedType, refusal: invalid("unsupported_media_type", echo.HeaderContentType, "is not %s", want[0]).
		Mend("send JSON in UTF-8, uncompressed, with Content-Type: %s", want[0]), status: http.StatusUnsupportedMediaType}
}

// decode reads the body into a struct and is strict: a field that is unknown, given twice, or of the wrong type is named,
// and so is one whose text could not be kept as it stands. An absent body is an empty object if it may be.
func (c *call) decode(into any, optional bool) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		if optional {
			return nil
		}
		return domain.Refuse(domain.KindInvalid, "body_missing", "the request has no body").Mend("send a JSON object with Content-Type: application/json")
	}
	fields, err := objectFields(c.body)
	if err != nil {
		return err
	}
	return decodeFields(fields, into)
}

// field is a member of a JSON object.
type field struct {
	name string
	raw  json.RawMessage
}

// objectFields splits a JSON object into its members, in their order.
func objectFields(raw []byte) ([]field, error) {
	var any json.RawMessage
	d := json.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(&any); err != nil || !onlySpace(d, raw) {
		return nil, notJSON()
	}
	d = json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, domain.Refuse(domain.KindInvalid, "invalid_json", "the body is not a JSON object").Mend("send an object such as {}")
	}
	var fields []field
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, notJSON()
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, notJSON()
		}
		if slices.ContainsFunc(fields, func(f field) bool { return f.name == name }) {
			return nil, invalid("duplicate_field", clip(name), "is given twice").Mend("give it once")
		}
		if err := checkText(name, value); err != nil {
			return nil, err
		}
		fields = append(fields, field{name, value})
	}
	return fields, nil
}

func notJSON() error {
	return domain.Refuse(domain.KindInvalid, "invalid_json", "the body is not JSON").Mend("send one JSON object, and nothing after it")
}

// onlySpace reports whether nothing but white space follows what was decoded.
func onlySpace(d *json.Decoder, raw []byte) bool {
	return len(bytes.TrimSpace(raw[d.InputOffset():])) == 0
}

// checkText refuses text that Go's decoder would silently replace: broken UTF-8 and halves of surrogate pairs.
func checkText(name string, raw []byte) error {
	const mend = "send text in UTF-8, with whole characters only; bytes that are no text go as base64 where there is a field for them"
	if !utf8.Valid(raw) {
		return invalid("invalid_text", clip(name), "is not valid UTF-8").Mend(mend)
	}
	if escape := loneSurrogate(raw); escape != "" {
		return invalid("invalid_text", clip(name), "holds the escape %s, which is half of a character", escape).Mend(mend)
	}
	return nil
}

// loneSurrogate is the first \uXXXX in valid JSON that is half of a surrogate pair; "" when there is none.
func loneSurrogate(raw []byte) string {
	const size = len(`\u0000`)
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return ""
		}
		raw = raw[i:]
		switch unit, ok := surrogate(raw); {
		case !ok && raw[1] == 'u':
			raw = raw[size:]
		case !ok:
			raw = raw[len(`\n`):]
		default:
			next, paired := surrogate(raw[size:])
			if unit >= 0xdc00 || !paired || next < 0xdc00 {
				return string(raw[:size])
			}
			raw = raw[2*size:]
		}
	}
}

// surrogate is the surrogate that the \uXXXX at the start of raw stands for; ok is false for anything else.
func surrogate(raw []byte) (unit rune, ok bool) {
	if len(raw) < len(`\u0000`) || raw[0] != '\\' || raw[1] != 'u' {
		return 0, false
	}
	for _, digit := range bytes.ToLower(raw[2:6]) {
		unit = unit<<4 | rune(bytes.IndexByte([]byte("0123456789abcdef"), digit))
	}
	return unit, unit >= 0xd800 && unit < 0xe000
}

// decodeFields sets the fields of the struct that into points to. A member that is null leaves its field as it is.
func decodeFields(fields []field, into any) error {
	v := reflect.ValueOf(into).Elem()
	byName := map[string]reflect.Value{}
	var known []string
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		byName[name] = v.Field(i)
		known = append(known, name)
	}
	for _, f := range fields {
		target, ok := byName[f.name]
		if !ok {
			return unknownField(f.name, known)
		}
		if string(f.raw) == "null" {
			continue
		}
		if err := json.Unmarshal(f.raw, target.Addr().Interface()); err != nil || holdsNull(f.raw, target.Type()) {
			return wrongType(f.name, target.Type())
		}
	}
	return nil
}

// holdsNull reports a null among texts, which would silently become an empty one.
func holdsNull(raw json.RawMessage, t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[map[string]string]():
		var values map[string]*string
		return json.Unmarshal(raw, &values) != nil || slices.Contains(slices.Collect(maps.Values(values)), nil)
	case reflect.TypeFor[[]string]():
		var values []*string
		return json.Unmarshal(raw, &values) != nil || slices.Contains(values, nil)
	}
	return false
}

func unknownField(name string, known []string) error {
	mend := "leave it out; this request takes no fields"
	if len(known) > 0 {
		mend = "leave it out, or use one of: " + strings.Join(known, ", ")
	}
	return invalid("unknown_field", clip(name), "is not a field of this request").Mend("%s", mend)
}

// wrongType names what was wanted, and never repeats what was sent: it may be a secret.
func wrongType(name string, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	want := "another JSON value"
	switch {
	case t.String() == "uuid.UUID":
		return invalid("invalid_id", name, "is not an id").Mend("give the id as a UUID")
	case t == reflect.TypeFor[[]byte]():
		want = "a string in base64"
	case t.Kind() == reflect.String:
		want = "a string"
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64:
		want = "a whole number"
	case t == reflect.TypeFor[map[string]wire.EnvValue]():
		want = `an object of strings and references to secrets, such as {"type":"secret_ref","secretId":ID,"version":"latest"}`
	case t.Kind() == reflect.Struct:
		want = "an object"
	case t.Kind() == reflect.Map:
		want = "an object of strings"
	case t.Kind() == reflect.Slice:
		want = "a list of strings"
	case t.Kind() == reflect.Bool:
		want = "true or false"
	}
	return invalid("wrong_type", name, "is not %s", want).Mend("give %s", want)
}
