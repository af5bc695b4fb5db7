package ssh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/drivers"
)

// marker says whose a runtime is.
type marker struct {
	RuntimeID    string `json:"runtimeId"`
	Installation string `json:"installation"`
	Epoch        int64  `json:"epoch"`
	LeaseID      string `json:"leaseId"`
	Fence        int64  `json:"fence"`
	// Kept says that nobody has it, see [drivers.Hold]. The scripts look for these two fields in the text.
	Kept bool `json:"kept,omitempty"`
	// Identity tells it from any other that is ever made under this id.
	Identity  string    `json:"identity"`
	CreatedAt time.Time `json:"createdAt"`
}

func (m marker) String() string {
	b, err := json.Marshal(m)
	if err != nil {
		panic("drivers/ssh: a marker that is no JSON: " + err.Error())
	}
	return string(b)
}

// tools are the programs of a host that commands are run with.
type tools struct{ perl, python string }

// toolsIn reads what the function tools of our scripts printed.
func toolsIn(line string) tools {
	perl, python, _ := strings.Cut(line, "|")
	return tools{perl: perl, python: python}
}

// Acquire implements [drivers.Driver].
func (d *Driver) Acquire(ctx context.Context, req drivers.AcquireRequest) (drivers.Runtime, error) {
	if err := checkRuntimeID(req.RuntimeID); err != nil {
		return drivers.Runtime{}, err
	}
	c, err := configOf(req.Config)
	if err != nil {
		return drivers.Runtime{}, err
	}
	p := d.place(c)
	m := marker{
		RuntimeID: req.RuntimeID, Installation: req.Installation, Epoch: req.Epoch, LeaseID: req.LeaseID, Fence: req.Fence,
		Identity: drivers.NewIdentity(), CreatedAt: time.Now().UTC(),
	}
	said, err := d.mark(ctx, p, m, "")
	if err != nil {
		return drivers.Runtime{}, err
	}
	resumed := said.how == "exists"
	if resumed {
		if m.Identity, err = d.resume(ctx, p, m, said.marker); err != nil {
			return drivers.Runtime{}, err
		}
	}
	found := d.discover(ctx, p, said.conn)
	if found.URL == "" && p.c.urlNeeded {
		if ctx.Err() != nil {
			return drivers.Runtime{}, context.Cause(ctx)
		}
		return drivers.Runtime{}, d.undo(ctx, p, said.conn, m, urlMissing(found))
	}
	return d.runtime(p, said.conn, m, said.machine, resumed, found.URL), nil
}

// undo takes down a runtime whose acquire fails for good, so that the failure is as definite as it says.
func (d *Driver) undo(ctx context.Context, p place, via *conn, m marker, failure *drivers.Failure) error {
	if err := p.takeDown(ctx, strings.Split(via.pins, "\n"), m.RuntimeID, m.Fence); err != nil {
		failure.Outcome = drivers.OutcomeAmbiguous
		failure.Err = fmt.Errorf("%w; and the runtime could not be taken down: %w", failure.Err, err)
	}
	return failure
}

// placed is what became of a marker.
type placed struct {
	how     string // "made" or "exists"
	marker  string // on the host
	machine string // which that is
	conn    *conn
}

// mark runs the script that makes a runtime. expect, if set, is the marker that m takes the place of.
func (d *Driver) mark(ctx context.Context, p place, m marker, expect string) (placed, error) {
	r, err := p.run(ctx, nil, acquireScript, []variable{
		{"mode", "make"}, {"root", p.c.root}, {"id", m.RuntimeID}, {"cwd", p.c.remoteCwd(m.RuntimeID)}, {"marker", m.String()},
		{"expect", expect}, {"minfree", strconv.FormatInt(d.opts.MinFree, 10)}, {"own", p.c.own()}, {"machinefile", d.opts.machineFile},
	}...)
	if err != nil {
		return placed{}, err
	}
	if len(r.lines) < 3 || r.lines[0] != "ok" {
		return placed{}, failedAt("make_workspace", "bad_reply", errors.New("the host's answer is incomplete"))
	}
	p.know(toolsIn(r.lines[1]))
	said := placed{how: r.lines[2], conn: r.conn}
	if len(r.lines) > 3 {
		said.marker = r.lines[3]
	}
	if len(r.lines) > 4 {
		said.machine = machineOf(r.lines[4])
	}
	return said, nil
}

// resume decides about a runtime that is there already, and returns its identity.
func (d *Driver) resume(ctx context.Context, p place, want marker, found string) (string, error) {
	for range 3 { // again only if another holder came between
		var m marker
		refused := func(code, why string) (string, error) {
			return "", &drivers.Failure{
				Outcome: drivers.OutcomeAmbiguous, Code: code, Step: "read_marker", Err: errors.New(why),
				Remediation: "look at " + p.c.marker(want.RuntimeID) + " on the host and remove the runtime if nobody needs it",
			}
		}
		switch err := json.Unmarshal([]byte(found), &m); {
		case err != nil:
			return refused("bad_marker", "the marker of the runtime is damaged")
		case m.Installation != want.Installation:
			return refused("foreign_runtime", "a runtime of this id belongs to another installation")
		case m.Fence > want.Fence:
			return refused("stale_fence", fmt.Sprintf("the runtime is held with fence %d, newer than %d", m.Fence, want.Fence))
		case m.Fence == want.Fence && m.Kept:
			return refused(drivers.CodeStaleFence, "the runtime was given back by this holder")
		case m.Fence == want.Fence:
			return m.Identity, nil
		}
		m.Fence, m.LeaseID, m.Epoch, m.Kept = want.Fence, want.LeaseID, want.Epoch, false
		said, err := d.mark(ctx, p, m, found)
		if f, ok := errors.AsType[*drivers.Failure](err); ok && f.NothingMade {
			f.NothingMade = false // there is the runtime that was found
		}
		if err != nil {
			return "", err
		}
		found = said.marker
	}
	return "", failedAt("write_marker", "io_error", errors.New("the marker keeps changing"))
}

// runtime describes what was acquired over a connection.
func (d *Driver) runtime(p place, via *conn, m marker, machine string, resumed bool, url string) drivers.Runtime {
	c := p.c
	cwd := c.remoteCwd(m.RuntimeID)
	fields := map[string]any{
		"host": c.host, "port": c.port, "username": c.user, "remoteWorkspacePath": c.root, "remoteCwd": cwd, "paperclipApiUrl": nil,
		drivers.IdentityKey: m.Identity, "machine": machine,
	}
	if url != "" {
		fields["paperclipApiUrl"] = url
	}
	if trustsPerLease(c) {
		last := len(via.keys) - 1
		fields["hostKey"] = via.keys[last]
		if last > 0 {
			fields["jumpHostKeys"] = via.keys[:last]
		}
	}
	id := fmt.Sprintf("ssh://%s@%s%s", c.user, c.addr(), cwd)
	return drivers.Runtime{ProviderLeaseID: &id, Metadata: drivers.Metadata(fields), Resumed: resumed}
}

// trustsPerLease reports whether some server on the way is believed because the lease has seen it first.
func trustsPerLease(c config) bool {
	for _, h := range append(append([]hop{}, c.jumps...), c.hop) {
		if t := newTrust(c, h, ""); !c.strict && len(t.recorded()) == 0 && !t.authority() {
			return true
		}
	}
	return false
}

// ListRuntimes implements [drivers.Lister]. It includes what a broken Release left half removed.
func (d *Driver) ListRuntimes(ctx context.Context, req drivers.ListRequest) ([]drivers.ListedRuntime, error) {
	c, err := configOf(req.Config)
	if err != nil {
		return nil, err
	}
	r, err := d.pool(c).run(ctx, nil, listScript, variable{"root", c.root})
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	var listed []drivers.ListedRuntime
	for _, line := range r.lines[1:] {
		var m marker
		if json.Unmarshal([]byte(line), &m) != nil || m.Installation != req.Installation || seen[m.RuntimeID] {
			continue
		}
		seen[m.RuntimeID] = true
		id := fmt.Sprintf("ssh://%s@%s%s", c.user, c.addr(), c.remoteCwd(m.RuntimeID))
		listed = append(listed, drivers.ListedRuntime{
			RuntimeID: m.RuntimeID, ProviderLeaseID: &id, LeaseID: m.LeaseID, Epoch: m.Epoch, CreatedAt: m.CreatedAt,
		})
	}
	return listed, nil
}

// know keeps what a look at the host found.
func (p *pool) know(t tools) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tools = &t
}

// toolsOf says which tools the host has, by a look at it where none was taken yet.
func (p *pool) toolsOf(ctx context.Context, pins []string) (tools, error) {
	p.mu.Lock()
	known := p.tools
	p.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	r, err := p.run(ctx, pins, "echo ok\ntools\n")
	if err != nil {
		return tools{}, err
	}
	if len(r.lines) < 2 {
		return tools{}, failedAt(phaseStart, "bad_reply", errors.New("the host's answer is incomplete"))
	}
	t := toolsIn(r.lines[1])
	p.know(t)
	return t, nil
}

// forget makes the next command look again.
func (p *pool) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tools = nil
}

func (p *pool) touch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touched = time.Now()
}

func (p *pool) idleFor() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.touched)
}

func (p *pool) unused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) == 0 && len(p.dialing) == 0
}
