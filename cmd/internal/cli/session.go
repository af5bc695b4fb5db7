package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/cli/config"
)

const defaultServer = "http://127.0.0.1:7717"

// serverURL is where the server is: the setting, else what the server of the data directory wrote, else the default.
func (r *root) serverURL() string {
	if r.flags.server != "" {
		if !strings.Contains(r.flags.server, "://") {
			return "http://" + r.flags.server
		}
		return r.flags.server
	}
	if local := config.LocalServer(r.flags.dataDir); local != "" {
		return dialable(local)
	}
	return defaultServer
}

// dialable turns an address that means "every interface" into one of this machine.
func dialable(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return server
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsUnspecified() {
		host := "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
		u.Host = net.JoinHostPort(host, u.Port())
	}
	return u.String()
}

// isLocal reports whether a server is the one whose data directory is at hand, which alone may see its admin key.
func (r *root) isLocal(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	known := config.LocalServer(r.flags.dataDir)
	if known != "" && dialable(known) == server {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
		return false
	}
	if known == "" {
		return true
	}
	k, err := url.Parse(known)
	return err == nil && k.Port() == u.Port()
}

// api is the client, with a key. Without a key the server is looked for first: that there is none is the better news.
func (r *root) api(ctx context.Context) (*client.Client, error) {
	server := r.serverURL()
	key, err := r.settings.Key(r.flags.dataDir, r.isLocal(server))
	c, failed := client.New(server, key.Secret, client.WithUserAgent(programName+"/"+r.Version))
	if failed != nil {
		return nil, usagef("server: %s", failed).mendBy("give --server or TENURE_SERVER as http://HOST:PORT")
	}
	if err != nil {
		if _, down := c.Health(ctx); errors.Is(down, client.ErrUnreachable) {
			return nil, down
		}
		return nil, err
	}
	return c, nil
}

// all reads every page of a list.
func all[T any](ctx context.Context, page func(ctx context.Context, opts ...client.CallOption) (wire.List[T], error)) ([]T, error) {
	return some(ctx, 0, page)
}

// some reads pages of a list until there are limit items; 0 is all.
func some[T any](ctx context.Context, limit int, page func(ctx context.Context, opts ...client.CallOption) (wire.List[T], error)) ([]T, error) {
	items, after := []T{}, ""
	for {
		list, err := page(ctx, client.Page(after, min(limit, mostPerPage)))
		if err != nil {
			return nil, err
		}
		items = append(items, list.Items...)
		if limit > 0 && len(items) >= limit {
			return items[:limit], nil
		}
		if list.Next == nil || *list.Next == after {
			return items, nil
		}
		after = *list.Next
	}
}

// mostPerPage is what a server surely takes as a page's size.
const mostPerPage = 100

// company finds the company that is meant: by the setting, else the only one that the key reaches.
func (r *root) company(ctx context.Context, c *client.Client) (wire.Company, error) {
	companies, err := all(ctx, c.Companies)
	if err != nil {
		return wire.Company{}, err
	}
	if name := r.flags.company; name != "" {
		return pick("company", name, companies, func(c wire.Company) (uuid.UUID, string) { return c.ID, c.Name })
	}
	switch len(companies) {
	case 0:
		return wire.Company{}, &plainError{exitNotFound, "company_not_found", "there is no company yet", "add one with: tenure company add NAME"}
	case 1:
		return companies[0], nil
	}
	return wire.Company{}, usagef("company: the key reaches %d companies", len(companies)).
		mendBy("say which with --company or TENURE_COMPANY; tenure company list has them")
}

// environment finds an environment by id, else by name within the company. One that has ended gives way to an active one of
// the same name.
func (r *root) environment(ctx context.Context, c *client.Client, name string) (wire.Environment, error) {
	if id, err := uuid.Parse(name); err == nil {
		return c.Environment(ctx, id)
	}
	company, err := r.company(ctx, c)
	if err != nil {
		return wire.Environment{}, err
	}
	envs, err := all(ctx, environmentsOf(c, company.ID))
	if err != nil {
		return wire.Environment{}, err
	}
	active := slices.DeleteFunc(slices.Clone(envs), ended)
	if slices.ContainsFunc(active, func(e wire.Environment) bool { return e.Name == name }) {
		envs = active
	}
	return pick("env", name, envs, func(e wire.Environment) (uuid.UUID, string) { return e.ID, e.Name })
}

// ended reports whether an environment is there for its history only.
func ended(e wire.Environment) bool { return e.Status == "archived" || e.Status == "deleted" }

// pick finds a thing by id, else by name. Of several with the name, the caller has to give the id.
func pick[T any](noun, wanted string, items []T, of func(T) (uuid.UUID, string)) (T, error) {
	var found []T
	var names []string
	for _, item := range items {
		id, name := of(item)
		if id.String() == wanted {
			return item, nil
		}
		if name == wanted {
			found = append(found, item)
		}
		names = append(names, name)
	}
	var none T
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		e := &plainError{exit: exitNotFound, code: noun + "_not_found", message: fmt.Sprintf("there is no %s %q", noun, wanted)}
		e.mend = fmt.Sprintf("see: tenure %s list", noun)
		if near := nearest(wanted, names); near != "" {
			e.mend = "did you mean: " + near
		}
		return none, e
	}
	return none, usagef("%d of the %s list are named %q", len(found), noun, wanted).mendBy("give the id; tenure %s list -o wide has it", noun)
}

// parseID reads an id from the command line.
func parseID(what, s string) (uuid.UUID, error) {
	id, err := uuid.Parse(s)
	if err != nil {
		return uuid.Nil, usagef("%s: %q is not an id", what, s).mendBy("give an id such as 01890a5d-ac96-774b-bcce-b302099a8057")
	}
	return id, nil
}

// needReason refuses what a person has to give a reason for, and did not.
func needReason(reason string) error {
	if reason == "" {
		return usagef("reason: is missing").mendBy("give --reason TEXT; it goes into the history")
	}
	return nil
}

// visibleLimit bounds how long a command waits for its own effect to be listed.
const visibleLimit = 3 * time.Second

// visible waits until lists show what a command did, so that the next command finds it by name. It is a courtesy: that it
// takes longer is no failure of the command.
func visible[T any](ctx context.Context, position int64, page func(ctx context.Context, opts ...client.CallOption) (wire.List[T], error)) {
	ctx, cancel := context.WithTimeout(ctx, visibleLimit)
	defer cancel()
	_, _ = page(ctx, client.MinPosition(position), client.Page("", 1))
}
