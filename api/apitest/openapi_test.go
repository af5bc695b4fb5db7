package apitest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/api/wire"
)

var document = sync.OnceValues(func() (*openapi3.T, error) {
	raw, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		return nil, err
	}
	return openapi3.NewLoader().LoadFromData(raw)
})

func openAPI(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := document()
	require.NoError(t, err)
	return doc
}

var (
	parameter           = regexp.MustCompile(`:([A-Za-z]+)`)
	parameterInDocument = regexp.MustCompile(`\{([A-Za-z]+)\}`)
)

func TestOpenAPIDocumentIsValid(t *testing.T) {
	t.Parallel()
	doc := openAPI(t)
	require.True(t, doc.IsOpenAPI31OrLater())
	require.NoError(t, doc.Validate(t.Context()))
}

func TestOpenAPINamesExactlyTheRoutes(t *testing.T) {
	t.Parallel()
	served := api.New(api.Deps{Metrics: newRegistry()}).Routes()
	var documented []string
	for path, item := range openAPI(t).Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	for i, r := range served {
		served[i] = parameter.ReplaceAllString(r, "{$1}")
	}
	slices.Sort(served)
	slices.Sort(documented)
	require.Equal(t, served, documented)
}

func TestOpenAPIDescribesEveryPathParameter(t *testing.T) {
	t.Parallel()
	for path, item := range openAPI(t).Paths.Map() {
		for method, op := range item.Operations() {
			named := map[string]bool{}
			for _, p := range append(slices.Clone(item.Parameters), op.Parameters...) {
				if p.Value.In == "path" {
					named[p.Value.Name] = true
				}
			}
			for _, match := range parameterInDocument.FindAllStringSubmatch(path, -1) {
				require.True(t, named[match[1]], "%s %s: %s", method, path, match[1])
				delete(named, match[1])
			}
			require.Empty(t, named, "%s %s", method, path)
		}
	}
}

func TestOpenAPISchemasHaveTheFieldsOfTheWireTypes(t *testing.T) {
	t.Parallel()
	types := []any{
		wire.Problem{}, wire.Health{}, wire.Company{}, wire.AddCompany{}, wire.Key{}, wire.AddKey{}, wire.Environment{}, wire.AddEnvironment{},
		wire.Lease{}, wire.LeaseContext{}, wire.Selection{}, wire.Acquisition{}, wire.SelectFrom{}, wire.AcquireLease{}, wire.Acquired{}, wire.Release{}, wire.Cancel{}, wire.ReleasedLease{}, wire.RunReleased{},
		wire.Event{}, wire.StreamDigest{}, wire.Sealed{}, wire.OutputLine{}, wire.ExecResult{}, wire.Exec{}, wire.StartExec{}, wire.KillExec{},
		wire.Rebuild{}, wire.RebuildStarted{}, wire.Projection{}, wire.ParkedStream{}, wire.Worker{},
		wire.Plugin{}, wire.PluginVersion{}, wire.PluginProcess{}, wire.InstallPlugin{}, wire.PluginInstall{}, wire.DisablePlugin{},
		wire.ProbeSettings{}, wire.RetireEnvironment{}, wire.Blocker{}, wire.Probe{}, wire.ProbeResult{}, wire.Diagnostic{},
		wire.Constraint{}, wire.Queue{}, wire.QueueEntry{}, wire.SlotHolder{}, wire.Explanation{}, wire.Waiting{}, wire.GrantDecision{}, wire.LeaseWork{},
		wire.Cleanup{}, wire.ForceCleanup{}, wire.Leak{}, wire.ClearLeak{}, wire.Balance{}, wire.LostRuntime{},
		wire.Secret{}, wire.SecretVersion{}, wire.AddSecret{}, wire.AddSecretVersion{}, wire.SecretRead{},
		wire.Renew{}, wire.Clock{}, wire.ClockProcess{}, wire.ClockGap{}, wire.ConfirmClock{},
		wire.Log{}, wire.LogFork{}, wire.LogMark{}, wire.LogPlace{}, wire.LogAdopted{}, wire.AdoptLog{},
	}
	schemas := openAPI(t).Components.Schemas
	checked := map[string]bool{}
	for _, v := range types {
		checkFields(t, schemas, reflect.TypeOf(v).Name(), reflect.TypeOf(v))
		checked[reflect.TypeOf(v).Name()] = true
	}
	checkFields(t, schemas, "EnvironmentPatch", reflect.TypeFor[wire.EnvironmentSettings]())
	checkFields(t, schemas, "CompanyPatch", reflect.TypeFor[wire.CompanySettings]())
	for name, schema := range schemas {
		if len(schema.Value.Properties) > 0 && !checked[name] && !strings.HasSuffix(name, "Patch") {
			require.True(t, strings.HasSuffix(name, "List"), "schema %s is of no wire type", name)
		}
	}
}

func checkFields(t *testing.T, schemas openapi3.Schemas, name string, of reflect.Type) {
	t.Helper()
	require.NotNil(t, schemas[name], "schema %s", name)
	var fields, properties []string
	for i := range of.NumField() {
		field, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		fields = append(fields, field)
	}
	for property, schema := range schemas[name].Value.Properties {
		properties = append(properties, property)
		require.True(t, schema.Ref != "" || schema.Value.Description != "", "%s.%s has no description", name, property)
	}
	require.ElementsMatch(t, fields, properties, name)
}

// checkedTransport holds every answer to what the document says of it.
type checkedTransport struct {
	t    *testing.T
	next http.RoundTripper
}

func (c *checkedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	op := c.operation(req)
	switch {
	case op == nil:
		// A route that does not exist is still answered with a problem.
		if media == wire.TypeProblem {
			c.document(resp, openAPI(c.t).Components.Schemas["Problem"])
		}
	case media == wire.TypeNDJSON:
		resp.Body = &checkedLines{t: c.t, body: resp.Body, schema: c.schema(op, resp, media)}
	case strings.HasSuffix(media, "json"):
		c.document(resp, c.schema(op, resp, media))
	case media != "":
		c.schema(op, resp, media)
	}
	return resp, nil
}

// operation finds what the document says of a request.
func (c *checkedTransport) operation(req *http.Request) *openapi3.Operation {
	sent := strings.Split(req.URL.EscapedPath(), "/")
	for path, item := range openAPI(c.t).Paths.Map() {
		parts := strings.Split(path, "/")
		matches := len(parts) == len(sent)
		for i := 0; matches && i < len(parts); i++ {
			matches = parts[i] == sent[i] || strings.HasPrefix(parts[i], "{")
		}
		if matches {
			return item.GetOperation(req.Method)
		}
	}
	return nil
}

func (c *checkedTransport) schema(op *openapi3.Operation, resp *http.Response, media string) *openapi3.SchemaRef {
	answer := op.Responses.Status(resp.StatusCode)
	if answer == nil {
		answer = op.Responses.Default()
		if resp.StatusCode < 400 {
			c.t.Errorf("%s: the document does not name the status %d", op.OperationID, resp.StatusCode)
			return nil
		}
	}
	content := answer.Value.Content.Get(media)
	if content == nil {
		c.t.Errorf("%s: the document does not name %s with status %d", op.OperationID, media, resp.StatusCode)
		return nil
	}
	return content.Schema
}

func (c *checkedTransport) document(resp *http.Response, schema *openapi3.SchemaRef) {
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil || schema == nil {
		return
	}
	validate(c.t, schema, body)
}

func validate(t *testing.T, schema *openapi3.SchemaRef, raw []byte) {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Errorf("no JSON: %s", raw)
		return
	}
	if err := schema.Value.VisitJSON(v, openapi3.EnableJSONSchema2020(), openapi3.EnableFormatValidation()); err != nil {
		t.Errorf("not as the document says: %v\n%s", err, raw)
	}
}

// checkedLines checks NDJSON as it is read.
type checkedLines struct {
	t      *testing.T
	body   io.ReadCloser
	schema *openapi3.SchemaRef
	rest   []byte
}

func (l *checkedLines) Read(p []byte) (int, error) {
	n, err := l.body.Read(p)
	l.rest = append(l.rest, p[:n]...)
	for l.schema != nil {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			break
		}
		validate(l.t, l.schema, line)
		l.rest = rest
	}
	return n, err
}

func (l *checkedLines) Close() error { return l.body.Close() }
