package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

// fake is a server in memory that speaks the wire and runs nothing: a command's first word says how it goes. Its clock
// begins at a fixed time, so that tables can be compared.
type fake struct {
	*httptest.Server

	mu        sync.Mutex
	now       time.Time
	position  int64
	ids       int
	companies []*wire.Company
	keys      []*wire.Key
	envs      []*wire.Environment
	secrets   []*wire.Secret
	leases    []*wire.Lease
	leaks     []*wire.Leak
	nodes     []*wire.Node
	byKey     map[string]*wire.Lease
	execs     []*fakeExec
	plugins   []*wire.Plugin
	installs  []*wire.PluginInstall
	probes    []*wire.Probe
	events    map[uuid.UUID][]wire.Event
	parked    []wire.ParkedStream
	adopted   *wire.AdoptLog
	confirmed bool
	// changed is closed and made anew with every change.
	changed chan struct{}
}

type fakeExec struct {
	wire.Exec
	in    wire.StartExec
	lines []wire.OutputLine
	cut   bool
}

func newFake() *fake {
	f := &fake{
		now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), byKey: map[string]*wire.Lease{}, events: map[uuid.UUID][]wire.Event{},
		changed: make(chan struct{}),
		parked: []wire.ParkedStream{{
			Stream: "lease-x", Position: 7, Event: "LeaseGranted", Reason: "the event has no slot", Attempts: 5, ParkedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		}},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, wire.Health{Status: "ok", Version: "test"})
	})
	for pattern, h := range map[string]func(*http.Request) (int, any){
		"POST /companies": f.addCompany, "GET /companies": f.listCompanies, "PATCH /companies/{id}": f.patchCompany,
		"POST /companies/{id}/keys": f.addKey, "GET /companies/{id}/keys": f.listKeys, "GET /keys": f.listKeys, "POST /keys/{id}/revoke": f.revokeKey,
		"POST /companies/{id}/environments": f.addEnv, "GET /companies/{id}/environments": f.listEnvs,
		"GET /environments/{id}": f.getEnv, "PATCH /environments/{id}": f.patchEnv, "POST /environments/{id}/archive": f.archiveEnv, "DELETE /environments/{id}": f.deleteEnv,
		"POST /environments/{id}/probe": f.probe, "POST /companies/{id}/environments/probe": f.probe, "GET /probes/{id}": f.getProbe,
		"GET /plugins": f.listPlugins, "POST /plugins": f.install, "GET /plugin-installs/{id}": f.getInstall,
		"GET /plugins/{id}": f.getPlugin, "POST /plugins/{id}/{verb}": f.setPlugin,
		"POST /companies/{id}/secrets": f.addSecret, "GET /companies/{id}/secrets": f.listSecrets,
		"GET /secrets/{id}": f.getSecret, "DELETE /secrets/{id}": f.destroySecret, "POST /secrets/{id}/versions": f.rotateSecret,
		"POST /secrets/{id}/versions/{version}/{verb}": f.switchSecret, "GET /secrets/{id}/reads": f.secretReads,
		"GET /environments/{id}/queue": f.queueOf, "GET /leases/{id}/explain": f.explainLease,
		"POST /companies/{id}/leases": f.acquire, "GET /companies/{id}/leases": f.listLeases,
		"GET /leases/{id}": f.getLease, "POST /leases/{id}/release": f.releaseLease,
		"POST /leases/{id}/renew": f.renewLease, "GET /clock": f.clock, "POST /clock/confirm": f.clock,
		"POST /companies/{id}/runs/{run}/release": f.releaseRun,
		"POST /leases/{id}/execs":                 f.startExec, "GET /leases/{id}/execs": f.listExecs,
		"GET /execs/{id}": f.getExec, "POST /execs/{id}/kill": f.killExec,
		"POST /leases/{id}/cleanup/retry": f.retryCleanup, "POST /leases/{id}/cleanup/force": f.forceCleanup,
		"GET /leaks": f.listLeaks, "POST /leaks/{id}/clear": f.clearLeak, "GET /balance": f.balance,
		"GET /nodes": f.listNodes, "POST /nodes/{id}/forget": f.forgetNode,
		"GET /projections": f.listProjections, "GET /workers": f.listWorkers,
		"GET /log": f.showLog, "POST /log/adopt": f.adoptLog,
		"GET /projections/{name}/parked": f.listParked, "POST /projections/{name}/parked/{stream}/{verb}": f.unpark,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" /api/v1"+path, f.guard(func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			status, body := h(r)
			answer(w, status, body)
		}))
	}
	mux.HandleFunc("GET /api/v1/leases/{id}/events", f.guard(f.leaseEvents))
	mux.HandleFunc("GET /api/v1/execs/{id}/output", f.guard(f.output))
	mux.HandleFunc("POST /api/v1/projections/{name}/rebuild", f.guard(f.rebuild))
	f.Server = httptest.NewServer(mux)
	return f
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func problem(status int, code, detail string) (int, any) {
	return status, wire.Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail,
		Remediation: "mend " + code, RequestID: "7f000001-0000-4000-8000-000000000000",
	}
}

// guard knows the keys admin and client; a client may do nothing about companies and projections.
func (f *fake) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		status := 0
		switch {
		case key != "admin" && key != "client":
			status = http.StatusUnauthorized
		case key == "client" && (strings.Contains(r.URL.Path, "/projections") || strings.Contains(r.URL.Path, "/keys") || r.Method == http.MethodPost && r.URL.Path == "/api/v1/companies"):
			status = http.StatusForbidden
		default:
			next(w, r)
			return
		}
		status, body := problem(status, strings.ToLower(strings.ReplaceAll(http.StatusText(status), " ", "_")), "this key may not")
		answer(w, status, body)
	}
}

// newID counts, so that goldens hold.
func (f *fake) newID() uuid.UUID {
	f.ids++
	return uuid.MustParse(fmt.Sprintf("00000000-0000-4000-8000-%012d", f.ids))
}

func (f *fake) change() {
	f.position++
	f.now = f.now.Add(time.Second)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fake) happened(lease uuid.UUID, name, data string) {
	f.change()
	f.events[lease] = append(f.events[lease], wire.Event{
		Position: f.position, Stream: "lease-" + lease.String(), Version: int64(len(f.events[lease])) + 1, Name: name, Revision: 1,
		RecordedAt: f.now, Data: json.RawMessage(data),
	})
}

func list[T any](items []T) (int, any) {
	if items == nil {
		items = []T{}
	}
	return http.StatusOK, wire.List[T]{Items: items}
}

func decode[T any](r *http.Request) T {
	var v T
	_ = json.NewDecoder(r.Body).Decode(&v)
	return v
}

func find[T any](items []*T, r *http.Request, id func(*T) uuid.UUID) *T {
	for _, item := range items {
		if id(item).String() == r.PathValue("id") {
			return item
		}
	}
	return nil
}

func values[T any](items []*T) []T {
	out := []T{}
	for _, item := range items {
		out = append(out, *item)
	}
	return out
}

func notFound(noun string) (int, any) {
	return problem(http.StatusNotFound, noun+"_not_found", "there is no such "+noun)
}

func (f *fake) addCompany(r *http.Request) (int, any) {
	in := decode[wire.AddCompany](r)
	for _, c := range f.companies {
		if c.Name == in.Name {
			return problem(http.StatusConflict, "company_exists", "there is a company with this name")
		}
	}
	f.change()
	c := &wire.Company{ID: f.newID(), Name: in.Name, CreatedAt: f.now, Version: 1, Position: f.position}
	f.companies = append(f.companies, c)
	return http.StatusCreated, c
}

// listCompanies answers one at a time, so that paging is used.
func (f *fake) listCompanies(r *http.Request) (int, any) {
	at, _ := strconv.Atoi(r.URL.Query().Get("after"))
	page := wire.List[wire.Company]{Items: []wire.Company{}}
	if at < len(f.companies) {
		page.Items = append(page.Items, *f.companies[at])
	}
	if at+1 < len(f.companies) {
		next := strconv.Itoa(at + 1)
		page.Next = &next
	}
	return http.StatusOK, page
}

func (f *fake) patchCompany(r *http.Request) (int, any) {
	c := find(f.companies, r, func(c *wire.Company) uuid.UUID { return c.ID })
	if c == nil {
		return notFound("company")
	}
	f.change()
	c.DefaultEnvironmentID = decode[wire.CompanySettings](r).DefaultEnvironmentID
	c.Version, c.Position = c.Version+1, f.position
	return http.StatusOK, c
}

func (f *fake) addKey(r *http.Request) (int, any) {
	in := decode[wire.AddKey](r)
	f.change()
	company := uuid.MustParse(r.PathValue("id"))
	k := wire.Key{ID: f.newID(), CompanyID: &company, Role: in.Role, Name: in.Name, Status: "active", CreatedAt: f.now, Version: 1}
	f.keys = append(f.keys, &k)
	shown := k
	shown.Key = "tk_secret"
	return http.StatusCreated, shown
}

func (f *fake) listKeys(*http.Request) (int, any) { return list(values(f.keys)) }

func (f *fake) revokeKey(r *http.Request) (int, any) {
	k := find(f.keys, r, func(k *wire.Key) uuid.UUID { return k.ID })
	if k == nil {
		return notFound("key")
	}
	f.change()
	k.Status, k.RevokedAt = "revoked", &f.now
	return http.StatusOK, k
}

func (f *fake) addEnv(r *http.Request) (int, any) {
	in := decode[wire.AddEnvironment](r)
	if in.Driver != "local" {
		status, body := problem(http.StatusBadRequest, "unknown_driver", "there is no driver "+in.Driver)
		p := body.(wire.Problem)
		p.Field = "driver"
		return status, p
	}
	f.change()
	e := &wire.Environment{
		ID: f.newID(), CompanyID: uuid.MustParse(r.PathValue("id")), Name: in.Name, Description: in.Description, Driver: in.Driver,
		Config: orEmpty(in.Config), EnvVars: in.EnvVars, MaxLeases: in.MaxLeases, MaxQueued: deref(in.MaxQueued, 1000), Metadata: orEmpty(in.Metadata), MaxTTL: in.MaxTTL, Status: "active",
		CreatedAt: f.now, UpdatedAt: f.now, Version: 1, Position: f.position,
	}
	f.envs = append(f.envs, e)
	return http.StatusCreated, e
}

func deref(n *int, otherwise int) int {
	if n == nil {
		return otherwise
	}
	return *n
}

func orEmpty(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("{}")
	}
	return raw
}

func (f *fake) listEnvs(r *http.Request) (int, any) {
	return list(slices.DeleteFunc(values(f.envs), func(e wire.Environment) bool { return e.CompanyID.String() != r.PathValue("id") }))
}

func (f *fake) env(r *http.Request) *wire.Environment {
	return find(f.envs, r, func(e *wire.Environment) uuid.UUID { return e.ID })
}

func (f *fake) getEnv(r *http.Request) (int, any) {
	if e := f.env(r); e != nil {
		return http.StatusOK, e
	}
	return notFound("environment")
}

// patchEnv answers with the patch as the description, so that a test sees what was sent.
func (f *fake) patchEnv(r *http.Request) (int, any) {
	e := f.env(r)
	if e == nil {
		return notFound("environment")
	}
	if m := r.Header.Get("If-Match"); m != "" && m != fmt.Sprintf("%q", strconv.FormatInt(e.Version, 10)) {
		return problem(http.StatusPreconditionFailed, "version_mismatch", "it has another version")
	}
	raw, _ := io.ReadAll(r.Body)
	f.change()
	e.Description, e.UpdatedAt = string(raw), f.now
	e.Version++
	e.Warnings = nil
	if strings.Contains(string(raw), `"maxLeases":0`) {
		e.Warnings = []string{"maxLeases 0 is no limit"}
	}
	return http.StatusOK, e
}

func (f *fake) archiveEnv(r *http.Request) (int, any) {
	e := f.env(r)
	if e == nil {
		return notFound("environment")
	}
	f.change()
	e.Status = "archived"
	return http.StatusOK, e
}

// acquire grants at once, except in environments named full and bad.
func (f *fake) acquire(r *http.Request) (int, any) {
	key := r.Header.Get(wire.HeaderIdempotencyKey)
	in := decode[wire.AcquireLease](r)
	if in.NoWait {
		status, body := problem(http.StatusTooManyRequests, "no_capacity_now", "all 1 slots are taken")
		return status, body
	}
	if in.Priority == "never" {
		status, body := problem(http.StatusConflict, "unsatisfiable", "the request can never be met")
		p := body.(wire.Problem)
		p.Constraints = []wire.Constraint{{Constraint: "provider_available", Detail: "the plugin is off"}, {Constraint: "environment_active", Detail: "it is archived"}}
		return status, p
	}
	if in.HeartbeatRunID == "forgetful" {
		status, body := problem(http.StatusConflict, "unsatisfiable", "the request can never be met")
		p := body.(wire.Problem)
		p.Field, p.Constraints = "leasePolicy", []wire.Constraint{{Constraint: "policy_supported", Detail: "nobody keeps it", Remediation: "leave it out"}}
		return status, p
	}
	l := f.byKey[key]
	var chosen *wire.Selection
	if in.EnvironmentID == uuid.Nil {
		if len(f.envs) == 0 {
			return problem(http.StatusConflict, "no_environment", "nothing says in which environment to work")
		}
		in.EnvironmentID = f.envs[0].ID
		chosen = &wire.Selection{EnvironmentID: in.EnvironmentID, Level: "local", Reason: "it is the first"}
	}
	if l == nil {
		f.change()
		l = &wire.Lease{
			ID: f.newID(), CompanyID: uuid.MustParse(r.PathValue("id")), EnvironmentID: in.EnvironmentID, HeartbeatRunID: in.HeartbeatRunID,
			Status: wire.LeaseActive, LeasePolicy: "ephemeral", Provider: "local", CreatedAt: f.now, AcquiredAt: &f.now, Fence: f.position, Version: 3,
			Metadata: map[string]any{"driver": "local", "executionWorkspaceMode": nil}, Selection: chosen,
		}
		if in.IssueID != "" {
			l.IssueID = &in.IssueID
		}
		f.byKey[key] = l
		f.leases = append(f.leases, l)
		f.happened(l.ID, "LeaseRequested", `{"runId":"`+in.HeartbeatRunID+`","driver":"local","context":{}}`)
		f.happened(l.ID, "LeaseProvisioned", `{"attempt":1,"message":"two words"}`)
	}
	var env wire.Environment
	for _, e := range f.envs {
		if e.ID == in.EnvironmentID {
			env = *e
		}
	}
	switch env.Name {
	case "full":
		if l.Status == wire.LeaseActive {
			l.Status = wire.LeaseQueued
		}
		return http.StatusAccepted, wire.Acquired{Environment: env, Lease: *l}
	case "bad":
		l.Status = wire.LeaseFailed
		return problem(http.StatusConflict, "lease_failed", "the lease failed: no space left")
	}
	return http.StatusCreated, wire.Acquired{Environment: env, Lease: *l, Selection: l.Selection, Position: f.position}
}

func (f *fake) listLeases(r *http.Request) (int, any) {
	status := r.URL.Query().Get("status")
	var out []wire.Lease
	for _, l := range slices.Backward(f.leases) {
		if status == "" || l.Status == status {
			out = append(out, *l)
		}
	}
	return list(out)
}

func (f *fake) lease(r *http.Request) *wire.Lease {
	return find(f.leases, r, func(l *wire.Lease) uuid.UUID { return l.ID })
}

func (f *fake) getLease(r *http.Request) (int, any) {
	if l := f.lease(r); l != nil {
		return http.StatusOK, l
	}
	return notFound("lease")
}

func (f *fake) end(l *wire.Lease, status string) {
	if l.Ended() {
		return
	}
	done := "success"
	l.Status, l.CleanupStatus = status, &done
	at := f.now
	l.ReleasedAt = &at
	f.happened(l.ID, "LeaseReleased", `{"reason":"`+status+`"}`)
}

func (f *fake) releaseLease(r *http.Request) (int, any) {
	l := f.lease(r)
	if l == nil {
		return notFound("lease")
	}
	in := decode[wire.Release](r)
	if in.Message == "stick" {
		f.stick(l)
		return http.StatusAccepted, l
	}
	if in.Message == "lose the node" {
		f.loseNode()
	}
	f.end(l, orReleased(in.Status))
	return http.StatusOK, l
}

func orReleased(status string) string {
	if status == "" {
		return wire.LeaseReleased
	}
	return status
}

func (f *fake) releaseRun(r *http.Request) (int, any) {
	out := wire.RunReleased{Released: []wire.ReleasedLease{}}
	for _, l := range f.leases {
		if l.HeartbeatRunID == r.PathValue("run") && !l.Ended() {
			f.end(l, wire.LeaseReleased)
			out.Released = append(out.Released, wire.ReleasedLease{Lease: *l})
		}
	}
	return http.StatusOK, out
}

func (f *fake) listProjections(*http.Request) (int, any) {
	return list([]wire.Projection{
		{Name: "leases", Revision: 1, Generation: 1, State: wire.ProjectionLive, Position: f.position, Head: f.position, Parked: len(f.parked)},
		{Name: "runtimes", Revision: 2, Generation: 3, State: wire.ProjectionLive, Position: f.position, Head: f.position},
	})
}

func (f *fake) listWorkers(*http.Request) (int, any) {
	return list([]wire.Worker{{ID: f.newID(), Hostname: "here", Alive: true, Role: "serve"}, {Hostname: "there", Alive: true, Role: "api"}})
}

func (f *fake) listParked(r *http.Request) (int, any) {
	if r.PathValue("name") != "leases" {
		return list([]wire.ParkedStream{})
	}
	return list(f.parked)
}

func (f *fake) unpark(r *http.Request) (int, any) {
	if len(f.parked) == 0 || r.PathValue("stream") != f.parked[0].Stream {
		return notFound("parked_stream")
	}
	f.parked = nil
	return http.StatusOK, struct{}{}
}

func (f *fake) rebuild(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if name == "nothing" {
		status, body := notFound("projection")
		answer(w, status, body)
		return
	}
	names := []string{name}
	if name == "all" {
		names = []string{"leases", "runtimes"}
	}
	if r.URL.Query().Get("follow") != "true" {
		answer(w, http.StatusAccepted, wire.RebuildStarted{Projections: names})
		return
	}
	enc := json.NewEncoder(w)
	rows, none := int64(3), int64(0)
	for _, n := range names {
		_ = enc.Encode(wire.Rebuild{Name: n, State: wire.RebuildRunning, Position: 5, Target: 10})
		if n == "broken" {
			why := "disk full"
			_ = enc.Encode(wire.Rebuild{Name: n, State: wire.RebuildFailed, Position: 5, Target: 10, Error: &why})
			continue
		}
		_ = enc.Encode(wire.Rebuild{Name: n, State: wire.RebuildDone, Position: 10, Target: 10, EventsPerSecond: 1234.5, Rows: &rows, Differences: &none})
	}
}

func (f *fake) leaseEvents(w http.ResponseWriter, r *http.Request) {
	id := uuid.MustParse(r.PathValue("id"))
	if r.Header.Get("Accept") != wire.TypeEventStream {
		after, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
		f.mu.Lock()
		events := slices.DeleteFunc(slices.Clone(f.events[id]), func(e wire.Event) bool { return e.Position <= after })
		f.mu.Unlock()
		status, body := list(events)
		answer(w, status, body)
		return
	}
	last, _ := strconv.ParseInt(r.Header.Get(wire.HeaderLastEventID), 10, 64)
	w.Header().Set("Content-Type", wire.TypeEventStream)
	w.WriteHeader(http.StatusOK)
	for {
		f.mu.Lock()
		changed := f.changed
		for _, e := range f.events[id] {
			if e.Position > last {
				raw, _ := json.Marshal(e)
				fmt.Fprintf(w, "id: %d\ndata: %s\n\n", e.Position, raw)
				last = e.Position
			}
		}
		f.mu.Unlock()
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (f *fake) exec(r *http.Request) *fakeExec {
	return find(f.execs, r, func(x *fakeExec) uuid.UUID { return x.ID })
}

func (f *fake) listExecs(*http.Request) (int, any) {
	var out []wire.Exec
	for _, x := range slices.Backward(f.execs) {
		out = append(out, x.Exec)
	}
	return list(out)
}

func (f *fake) getExec(r *http.Request) (int, any) {
	if x := f.exec(r); x != nil {
		return http.StatusOK, x.Exec
	}
	return notFound("exec")
}

func (f *fake) killExec(r *http.Request) (int, any) {
	x := f.exec(r)
	if x == nil {
		return notFound("exec")
	}
	x.KillRequested = true
	f.change()
	if x.Status != wire.ExecEnded && x.Argv[0] != "stubborn" {
		why := decode[wire.KillExec](r).Why
		x.print("stdout", "bye\n")
		f.finish(x, wire.ExecResult{End: wire.EndKilled, Why: &why}, "complete")
	}
	return http.StatusOK, x.Exec
}

func (f *fake) startExec(r *http.Request) (int, any) {
	l := f.lease(r)
	if l == nil {
		return notFound("lease")
	}
	if r.Header.Get(wire.HeaderFence) != strconv.FormatInt(l.Fence, 10) {
		return problem(http.StatusPreconditionFailed, "stale_fence", "the lease has another fence")
	}
	in := decode[wire.StartExec](r)
	f.change()
	x := &fakeExec{in: in, Exec: wire.Exec{
		ID: *in.ID, LeaseID: l.ID, Status: "running", Argv: in.Argv, TimeoutMs: in.TimeoutMs, StdinBytes: int64(len(in.StdinBase64)), CreatedAt: f.now, StartedAt: &f.now,
	}}
	f.execs = append(f.execs, x)
	f.play(x)
	return http.StatusCreated, x.Exec
}

// play lets the command's first word decide.
func (f *fake) play(x *fakeExec) {
	argv := append(slices.Clone(x.in.Argv), "", "")
	code := func(n int) wire.ExecResult { return wire.ExecResult{End: wire.EndExited, ExitCode: &n} }
	seal := "complete"
	var result wire.ExecResult
	switch argv[0] {
	case "both":
		x.print("stdout", "out\n")
		x.print("stderr", "err\n")
		result = code(0)
	case "cat":
		x.print("stdout", string(x.in.StdinBase64))
		result = code(0)
	case "env":
		for _, name := range slices.Sorted(maps.Keys(x.in.Env)) {
			x.print("stdout", name+"="+x.in.Env[name]+"\n")
		}
		result = code(0)
	case "cut":
		x.cut = true
		x.print("stdout", "one ")
		x.print("stdout", "two\n")
		result = code(0)
	case "exit":
		n, _ := strconv.Atoi(argv[1])
		result = code(n)
	case "signal":
		result = wire.ExecResult{End: wire.EndSignaled, Signal: &argv[1]}
	case "slow":
		result = wire.ExecResult{End: wire.EndTimeout}
	case "lost":
		why, state := "the worker went silent", "lost"
		result, seal = wire.ExecResult{End: wire.EndUnknown, Why: &why}, state
	case "broken":
		stage, message := "cwd", "no such directory"
		result = wire.ExecResult{End: wire.EndStartFailed, Stage: &stage, Message: &message}
	case "killed":
		why := "the lease expired"
		result = wire.ExecResult{End: wire.EndKilled, Why: &why}
	case "sleep", "stubborn":
		x.print("stdout", "asleep\n")
		return
	default:
		result = code(127)
	}
	f.finish(x, result, seal)
}

func (x *fakeExec) print(stream, data string) {
	offset := int64(0)
	for _, l := range x.lines {
		offset += int64(len(l.Data))
	}
	x.lines = append(x.lines, wire.OutputLine{Offset: offset, Stream: stream, Data: []byte(data)})
}

func (f *fake) finish(x *fakeExec, result wire.ExecResult, seal string) {
	f.change()
	x.Status, x.Result, x.EndedAt = wire.ExecEnded, &result, &f.now
	x.Output = &wire.Sealed{State: seal}
}

// output cuts the connection once in the middle of a line for an exec that asks for it.
func (f *fake) output(w http.ResponseWriter, r *http.Request) {
	offset, _ := strconv.ParseInt(r.URL.Query().Get("offset"), 10, 64)
	w.Header().Set("Content-Type", wire.TypeNDJSON)
	enc := json.NewEncoder(w)
	for {
		f.mu.Lock()
		x, changed := f.exec(r), f.changed
		cut := x.cut
		x.cut = false
		for _, l := range x.lines {
			if l.Offset < offset {
				continue
			}
			offset = l.Offset + int64(len(l.Data))
			_ = enc.Encode(l)
			if cut {
				fmt.Fprint(w, `{"offset":4,"stream":"stdo`)
				f.mu.Unlock()
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
		}
		sealed := x.Output
		f.mu.Unlock()
		if sealed != nil {
			_ = enc.Encode(wire.OutputLine{Offset: offset, Sealed: sealed})
			return
		}
		if r.URL.Query().Get("follow") != "true" {
			return
		}
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}
