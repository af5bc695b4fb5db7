package archtest

// rule is one line of the table. A package belongs to the part with the longest path above it, so drivers/local is of
// the part drivers, and drivers/supervisor is a part of its own. A package may import the other packages of its part.
type rule struct {
	part string
	// may are the parts it may import besides its own; "*" is all of them.
	may []string
	// mayNot are trees within what it may import that it may not: a driver never imports its sibling.
	mayNot []string
	why    string
}

var rules = []rule{
	{part: "domain", why: "the domain is pure and knows nobody"},

	{part: "migrations", why: "SQL and its embedding"},
	{part: "migrations/pgtest", may: []string{"migrations", "eventstore/embedded"}, why: "a migrated schema for a test, on a Postgres of its own"},

	{part: "eventstore/faults", why: "it names the steps at which a test may end the engine, wherever they are"},
	{part: "eventstore", may: []string{"domain", "eventstore/faults"}, why: "interfaces, codec, repository and the store in memory know no database"},
	{part: "eventstore/pg", may: []string{"domain", "eventstore", "eventstore/faults", "migrations"}, why: "the store in Postgres"},
	{part: "eventstore/embedded", why: "finds and runs Postgres, and needs no engine for it"},
	{part: "eventstore/merkle", may: []string{"domain", "eventstore"}, why: "verification works offline, from exported events"},

	{part: "projections", may: []string{"domain", "eventstore", "eventstore/faults"}, why: "read models fold the log"},

	{part: "drivers", may: []string{"eventstore/faults"}, mayNot: siblings, why: "drivers have a vocabulary of their own and do not know the engine or each other"},
	{part: "drivers/supervisor", may: []string{"domain", "drivers", "eventstore", "eventstore/faults"}, mayNot: siblings, why: "it drives through the interfaces and is handed the drivers"},
	{part: "drivers/supervisor/supervisortest", may: []string{"domain", "drivers/supervisor", "eventstore", "projections"}, why: "what a supervisor needs of a process, in memory, for a test"},

	{part: "plugins", may: []string{"drivers"}, why: "a plugin author must not need the engine"},

	{part: "api", may: []string{"api/wire", "domain", "eventstore", "projections"}, why: "the API appends and reads; it never calls a driver"},
	{part: "api/wire", why: "what others import stays light"},
	{part: "api/client", may: []string{"api/wire"}, why: "what others import stays light"},

	{part: "cmd", may: []string{"*"}, why: "the only place where concrete types meet"},
	{part: "cmd/internal/cli", may: []string{"api/client", "api/wire"}, why: "the CLI has no private door"},
}

// siblings are the drivers themselves. A driver may import journal and execparent, but not another driver; who needs
// several is handed them by cmd.
var siblings = []string{"drivers/local", "drivers/ssh", "drivers/sandbox", "drivers/pluginenv", "drivers/fake"}

// reservation gives a foreign package, and what is below it, to some trees of this module alone, less some within them.
type reservation struct {
	path string
	only []string
	not  []string
	why  string
}

var reserved = []reservation{
	{path: "golang.org/x/crypto/ssh", only: []string{"drivers/ssh"}, why: "one place decides about host keys and deadlines of SSH"},
	{path: "github.com/labstack/echo/v4", only: []string{"api"}, not: []string{"api/wire", "api/client"}, why: "HTTP handling stays in the API"},
	{path: watermillMessage + "/router", only: []string{"projections/runner"}, why: "the Watermill router serves the projections only"},
	{path: "github.com/ThreeDotsLabs/watermill-sql/v4", only: []string{"eventstore/pg"}, why: "the log is the topic, through adapters of the store"},
	{path: "github.com/tink-crypto/tink-go/v2", only: []string{"eventstore/vault"}, why: "one place seals, and knows keys"},
	{path: "github.com/pressly/goose/v3", only: []string{"migrations"}, why: "one place changes the schema"},
	{
		path: "github.com/jackc/pgx/v5",
		only: []string{"migrations", "eventstore/pg", "eventstore/embedded", "projections", "cmd"},
		not:  []string{"cmd/internal/cli"},
		why:  "who is not the store or a read model asks through an interface",
	},
	{path: "github.com/spf13/cobra", only: []string{"cmd"}, why: "commands are parsed in cmd"},
}

// watermillMessage holds both the Message, which several parts need, and the Router, which only one may use; so its uses
// are looked at name by name.
const watermillMessage = "github.com/ThreeDotsLabs/watermill/message"

var routerNames = oneOf("Router", "NewRouter", "RouterConfig")

// routerPart is where the router may be used.
const routerPart = "projections/runner"

// light are the parts that import nothing from outside but the standard library and what is named here: an SDK's
// dependencies become its users'.
var light = map[string][]string{
	"api/wire":   {"github.com/google/uuid"},
	"api/client": {"github.com/google/uuid"},
}
