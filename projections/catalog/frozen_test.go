package catalog_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/activeleases"
	"github.com/tenure-dev/tenure/projections/catalog"
	"github.com/tenure-dev/tenure/projections/companies"
	"github.com/tenure-dev/tenure/projections/deadlines"
	"github.com/tenure-dev/tenure/projections/environments"
	"github.com/tenure-dev/tenure/projections/executions"
	"github.com/tenure-dev/tenure/projections/keys"
	"github.com/tenure-dev/tenure/projections/leaks"
	"github.com/tenure-dev/tenure/projections/leases"
	"github.com/tenure-dev/tenure/projections/nodes"
	"github.com/tenure-dev/tenure/projections/plugins"
	"github.com/tenure-dev/tenure/projections/runtimes"
	"github.com/tenure-dev/tenure/projections/secrets"
)

// frozen are the shapes of what each revision stores: its columns and the type of its data. A shape that changes needs a
// new revision of the read model, or a table of the old shape would be read as one of the new; then add a line here. A new
// meaning of the same shape needs one too, which no test can see.
var frozen = map[string]string{
	"active_leases v1": "cdf874b1d7667b28",
	"active_leases v2": "a145b5f417f416b9",
	"active_leases v3": "e7852710c5635f7a",
	"active_leases v4": "38c03336cafa782d",
	"active_leases v5": "7006af9447b54384",
	"companies v1":     "cb692c64646ba9f1",
	"companies v2":     "a7fbcea0d6a0172a",
	"deadlines v1":     "fd4dc90274ec3933",
	"deadlines v2":     "1d27e7bae9ab7ba4",
	"deadlines v3":     "ef48ba57bb1e1ab5",
	"deadlines v4":     "42b16d8676efb7cd",
	"deadlines v5":     "9a225aa083cb8b8d",
	"environments v1":  "e6e8ddc4e7bd8dc0",
	"environments v2":  "e56bbc64fd647837",
	"environments v3":  "811b85a506ef83e5",
	"executions v1":    "9640f7dcc05f7c25",
	"executions v2":    "99f302be3dffa698",
	"keys v1":          "8c5a2c8d4475dd95",
	"leaks v1":         "9414c63ddc8e33e9",
	"leases v1":        "23914c196d94ba5b",
	"leases v2":        "1be671bfd210d2af",
	"leases v3":        "6c33b0cbe1c628ff",
	"leases v4":        "332887fc1e07049b",
	"leases v5":        "c2502b18f95a9244",
	"nodes v1":         "d8d4d30a99803a93",
	"plugins v1":       "9e88027d57f651b3",
	"plugins v2":       "d5af9027bf03f7fb",
	"runtimes v1":      "b6d482ccad272cbd",
	"runtimes v2":      "7f7f5e4147356d68",
	"secrets v1":       "a59ced4e03331b69",
}

func TestWhatARevisionStoresIsFrozen(t *testing.T) {
	t.Parallel()
	data := map[string]any{
		"active_leases": activeleases.Row{}.Data, "companies": companies.Row{}.Data, "deadlines": deadlines.Row{}.Data,
		"environments": environments.Row{}.Data, "executions": executions.Row{}.Data, "keys": keys.Row{}.Data,
		"leases": leases.Row{}.Data, "plugins": plugins.Row{}.Data, "runtimes": runtimes.Row{}.Data,
		"secrets": secrets.Row{}.Data, "leaks": leaks.Row{}.Data,
		"nodes": nodes.Row{}.Data,
	}
	for _, m := range catalog.All() {
		key := m.Key()
		require.Contains(t, data, key.Name)
		shape := m.Schema().Create(0) + strings.Join(m.Schema().Index(0), ";") + shapeOf(reflect.TypeOf(data[key.Name]))
		sum := sha256.Sum256([]byte(shape))
		require.Equal(t, frozen[key.String()], hex.EncodeToString(sum[:8]),
			"%s stores something else now: raise its revision in projection.go and add the line to frozen", key)
	}
}

// shapeOf is a type as JSON sees it.
func shapeOf(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[uuid.UUID]():
		return t.String()
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return t.Kind().String() + " " + shapeOf(t.Elem())
	case reflect.Map:
		return "map " + shapeOf(t.Key()) + " " + shapeOf(t.Elem())
	case reflect.Struct:
		fields := make([]string, t.NumField())
		for i := range fields {
			f := t.Field(i)
			fields[i] = fmt.Sprintf("%s %q %s", f.Name, f.Tag, shapeOf(f.Type))
		}
		return "{" + strings.Join(fields, "; ") + "}"
	default:
		return t.Kind().String()
	}
}

var _ projections.Model = leases.Model
