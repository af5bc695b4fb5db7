package archtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheModuleKeepsTheImportTable(t *testing.T) {
	t.Parallel()
	packages, err := Load(t.Context(), ".")
	require.NoError(t, err)
	require.NotEmpty(t, packages)
	require.Contains(t, rels(packages), "cmd/internal/archtest", "the list must be that of this module")

	broken := Check(packages)
	for _, more := range []func([]Package) ([]string, error){CheckPurity, CheckRouter} {
		found, err := more(packages)
		require.NoError(t, err)
		broken = append(broken, found...)
	}
	require.Empty(t, broken, strings.Join(broken, "\n"))
}

func rels(packages []Package) []string {
	names := make([]string, 0, len(packages))
	for _, p := range packages {
		names = append(names, p.Rel())
	}
	return names
}

// pkg is a package of this module that imports what is named: paths of this module begin with "./".
func pkg(rel string, imports ...string) Package {
	p := Package{ImportPath: Module + "/" + rel}
	for _, i := range imports {
		if own, ok := strings.CutPrefix(i, "./"); ok {
			i = Module + "/" + own
		}
		p.Imports = append(p.Imports, i)
	}
	return p
}

func TestWhatTheTableAllowsPasses(t *testing.T) {
	t.Parallel()
	require.Empty(t, Check([]Package{
		pkg("domain/lease", "./domain", "time"),
		pkg("eventstore/memory", "./eventstore", "./domain/catalog"),
		pkg("eventstore/pg", "./eventstore", "./domain", "./migrations", "github.com/jackc/pgx/v5/pgxpool", "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"),
		pkg("eventstore/vault", "./eventstore", "./domain", "github.com/tink-crypto/tink-go/v2/aead"),
		pkg("eventstore/commands", "./eventstore/vault", "./eventstore", "./domain/secret"),
		pkg("migrations/pgtest", "./migrations", "./eventstore/embedded", "github.com/pressly/goose/v3"),
		pkg("projections/runner", "./projections", "./eventstore", watermillMessage+"/router/middleware"),
		pkg("drivers/local", "./drivers", "./drivers/journal", "./drivers/execparent"),
		pkg("drivers/ssh/keys", "./drivers/ssh", "golang.org/x/crypto/ssh/agent"),
		pkg("drivers/supervisor", "./drivers", "./domain/lease", "./eventstore", "./drivers/journal"),
		pkg("plugins/fake", "./plugins/sdk", "./drivers/driverstest"),
		pkg("api/auth", "./api/wire", "./domain/access", "github.com/labstack/echo/v4"),
		pkg("api/client", "./api/wire", "net/http"),
		pkg("cmd/internal/app", "./eventstore/pg", "./drivers/local", "./api", "./plugins/host"),
		pkg("cmd/internal/cli", "./api/client", "./api/wire", "github.com/spf13/cobra"),
	}))
}

func TestAPlantedViolationIsFoundAndNamed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ from, imported, says string }{
		{"domain/lease", "./eventstore", "domain may import nothing"},
		{"migrations", "./eventstore/embedded", "migrations may import nothing"},
		{"eventstore", "./eventstore/pg", "eventstore may import only domain"},
		{"eventstore/memory", "./migrations", "eventstore may import only domain"},
		{"eventstore/embedded", "./domain", "eventstore/embedded may import nothing"},
		{"projections/leases", "./eventstore/pg", "projections may import only domain, eventstore"},
		{"projections/leases", "./drivers", "projections may import only domain, eventstore"},
		{"drivers/local", "./domain", "drivers may import only eventstore/faults"},
		{"drivers/local", "./drivers/ssh", "drivers may not import drivers/ssh"},
		{"drivers/supervisor", "./drivers/local", "drivers/supervisor may not import drivers/local"},
		{"drivers/execparent", "./drivers/supervisor", "drivers may import only eventstore/faults"},
		{"plugins/sdk", "./domain", "plugins may import only drivers"},
		{"api", "./drivers/journal", "api may import only api/wire, domain, eventstore, projections"},
		{"api", "./api/client", "api may import only"},
		{"api/wire", "./domain", "api/wire may import nothing"},
		{"api/client", "./api", "api/client may import only api/wire"},
		{"cmd/internal/cli", "./cmd/internal/app", "cmd/internal/cli may import only api/client, api/wire"},
		{"newpart", "fmt", "newpart is in no part"},
		{"cmd/tenure", "./newpart", "in no part"},
		{"eventstore/vault", "./eventstore/pg", "eventstore may import only domain"},
		{"eventstore/vault", "github.com/jackc/pgx/v5", "only migrations"},
		{"eventstore/commands", "github.com/tink-crypto/tink-go/v2/keyset", "only eventstore/vault may"},
		{"drivers/sandbox", "./eventstore/vault", "drivers may import only eventstore/faults"},
		{"drivers/sandbox", "golang.org/x/crypto/ssh", "only drivers/ssh may"},
		{"drivers/supervisor", "github.com/labstack/echo/v4", "only api may"},
		{"api/client", "github.com/labstack/echo/v4/middleware", "only api may"},
		{"drivers/supervisor", watermillMessage + "/router/middleware", "only projections/runner may"},
		{"drivers/supervisor", "github.com/jackc/pgx/v5", "only migrations"},
		{"cmd/internal/cli", "github.com/jackc/pgx/v5", "only migrations"},
		{"api/wire", "github.com/google/go-cmp/cmp", "only github.com/google/uuid"},
	} {
		broken := Check([]Package{pkg(tc.from, tc.imported)})
		require.Len(t, broken, 1, "%s → %s", tc.from, tc.imported)
		require.Contains(t, broken[0], tc.says)
		require.True(t, strings.HasPrefix(broken[0], tc.from+" "), broken[0])
	}
}

// planted writes one file of the package rel and returns the package.
func planted(t *testing.T, rel, text string, imports ...string) Package {
	t.Helper()
	p := pkg(rel, imports...)
	p.Dir = t.TempDir()
	p.GoFiles = []string{"planted.go"}
	require.NoError(t, os.WriteFile(filepath.Join(p.Dir, "planted.go"), []byte(text), 0o644))
	return p
}

func TestImpurityInTheDomainIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, says string }{
		{"import \"time\"\nvar x = time.Now()\n", "planted.go:3 uses time.Now"},
		{"import clock \"time\"\nvar x = clock.Since\n", "uses time.Since"},
		{"import \"github.com/google/uuid\"\nvar x = uuid.New()\n", "uses uuid.New"},
		{"import \"github.com/google/uuid\"\nvar x, _ = uuid.NewV7()\n", "uses uuid.NewV7"},
		{"import . \"time\"\nvar x = Now()\n", "a dot import of time"},
		{"import \"fmt\"\nfunc init() { fmt.Println() }\n", "uses fmt.Println"},
	} {
		broken, err := CheckPurity([]Package{planted(t, "domain/lease", "package lease\n"+tc.text)})
		require.NoError(t, err)
		require.Len(t, broken, 1, tc.text)
		require.Contains(t, broken[0], tc.says)
	}
	for _, imported := range []string{"context", "net/http", "os", "log/slog", "database/sql", "math/rand/v2", "crypto/rand", "github.com/jackc/pgx/v5"} {
		broken, err := CheckPurity([]Package{pkg("domain/lease", imported)})
		require.NoError(t, err)
		require.Len(t, broken, 1, imported)
		require.Contains(t, broken[0], "domain/lease imports "+imported)
	}
}

func TestAPureDomainPasses(t *testing.T) {
	t.Parallel()
	text := "package lease\nimport (\"time\"; \"github.com/google/uuid\")\ntype E struct { At time.Time; ID uuid.UUID }\n" +
		"func f(time struct{ Now int }) int { return 0 }\n"
	broken, err := CheckPurity([]Package{
		planted(t, "domain/lease", text, "time", "github.com/google/uuid"),
		pkg("domain/domaintest", "testing", "pgregory.net/rapid"),
	})
	require.NoError(t, err)
	require.Empty(t, broken)
}

func TestTheRouterIsFoundByNameNotByImport(t *testing.T) {
	t.Parallel()
	text := "package p\nimport \"" + watermillMessage + "\"\nvar r *message.Router\nvar m *message.Message\n"
	broken, err := CheckRouter([]Package{
		planted(t, "drivers/supervisor", text, watermillMessage),
		planted(t, "projections/runner", text, watermillMessage),
	})
	require.NoError(t, err)
	require.Len(t, broken, 1)
	require.Contains(t, broken[0], "drivers/supervisor: planted.go:3 uses message.Router")
}
