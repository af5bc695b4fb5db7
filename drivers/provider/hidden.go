package provider

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/redact"
)

// hidden are the secrets of one configuration, which must not come back in what a provider says.
type hidden struct {
	values redact.Texts
	// pointers are where the configuration has them.
	pointers []string
}

func secretsOf(offer Offer, config json.RawMessage) hidden {
	var h hidden
	fields := offer.SecretFields(config)
	var forms []string
	for _, v := range redact.Values(config, fields) {
		forms = append(forms, redact.Forms(v)...)
	}
	h.values = redact.Order(forms)
	for _, f := range fields {
		h.pointers = append(h.pointers, f.Value, f.Ref)
	}
	return h
}

// text is s without secrets.
func (h hidden) text(s string) string { return h.values.Clean(s) }

// clean is err without secrets. One that has none stays what it is.
func (h hidden) clean(err error) error {
	if err == nil {
		return nil
	}
	said := h.text(err.Error()) != err.Error()
	if f, ok := errors.AsType[*drivers.Failure](err); ok && (said || h.text(f.Remediation) != f.Remediation) {
		c := *f
		c.Err, c.Remediation = h.cleaned(f.Err), h.text(f.Remediation)
		return &c
	}
	if f, ok := errors.AsType[*drivers.StartError](err); ok && (said || h.text(f.Remediation) != f.Remediation) {
		c := *f
		c.Err, c.Remediation = h.cleaned(f.Err), h.text(f.Remediation)
		return &c
	}
	if said {
		return h.cleaned(err)
	}
	return err
}

// probe takes the secrets out of what a provider found.
func (h hidden) probe(r *drivers.ProbeResult) {
	r.Phase, r.Summary = h.text(r.Phase), h.text(r.Summary)
	for i := range r.Diagnostics {
		d := &r.Diagnostics[i]
		d.Code, d.Message, d.Remediation = h.text(d.Code), h.text(d.Message), h.text(d.Remediation)
	}
}

// cleaned keeps of an error what it says and which of the vocabulary it is.
func (h hidden) cleaned(err error) error {
	c := &cleaned{text: h.text(err.Error())}
	for _, is := range []error{drivers.ErrGone, drivers.ErrMismatch, drivers.ErrUnsupported} {
		if errors.Is(err, is) {
			c.is = errors.Join(c.is, is)
		}
	}
	return c
}

type cleaned struct {
	text string
	is   error
}

func (c *cleaned) Error() string { return c.text }

func (c *cleaned) Unwrap() error { return c.is }

// strip is a provider's metadata without the fields that the configuration has its secrets in, and without their values.
// What is no object is nothing.
func (h hidden) strip(raw json.RawMessage) json.RawMessage {
	var tree map[string]any
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if d.Decode(&tree) != nil || tree == nil {
		return json.RawMessage(`{}`)
	}
	for _, pointer := range h.pointers {
		drop(tree, pointer)
	}
	return drivers.Metadata(h.without(tree).(map[string]any))
}

// drop removes what a pointer leads to within objects.
func drop(tree map[string]any, pointer string) {
	parts := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	parent, ok := redact.At(tree, strings.Join(append([]string{""}, parts[:len(parts)-1]...), "/")).(map[string]any)
	if ok {
		delete(parent, redact.Unescape(parts[len(parts)-1]))
	}
}

func (h hidden) without(node any) any {
	switch node := node.(type) {
	case string:
		return h.text(node)
	case []any:
		for i := range node {
			node[i] = h.without(node[i])
		}
	case map[string]any:
		for name := range node {
			node[name] = h.without(node[name])
		}
	}
	return node
}
